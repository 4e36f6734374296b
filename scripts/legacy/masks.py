"""Write small models in which masks of padded sequences meet Lambdas, and layers that several models share.

    FLAVOUR=tf.keras python masks.py STACK OUTPUT_DIRECTORY

Runs under Python 3.7 to 3.13, in this directory, as write_corpus.py does. Writes
OUTPUT/STACK/NAME.h5 and .npz (x0, y0).
"""
# ruff: noqa: I001

import os
import sys

from write_corpus import load, random_weights
from stack import Input, K, Lambda, Model, Sequential, keras, layers, np, tf

WORDS = np.array([[1, 2, 0, 0, 3, 0], [4, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], [0, 0, 2, 2, 0, 0]], "float32")
STEPS = np.random.RandomState(0).standard_normal((4, 6, 4)).astype("float32")
STEPS[:, 3:] = 0
PLAIN = np.random.RandomState(1).standard_normal((4, 5)).astype("float32")


def crop(dim, start, end):
    def func(x):
        return x[:, :, start:end] if dim == 2 else x[:, start:end]

    return func


def words():
    inputs = Input((6,))
    return inputs, layers.Embedding(5, 4, mask_zero=True)(inputs)


def after_words(function, then=lambda t: layers.LSTM(3)(t), **more):
    def build():
        inputs, steps = words()
        return Model(inputs, then(Lambda(function, **more)(steps)))

    return build


def both(function):
    def build():
        inputs, steps = words()
        other = layers.Embedding(5, 4, mask_zero=True)(inputs)
        return Model(inputs, layers.LSTM(3)(Lambda(function)([steps, other])))

    return build


def in_turn(function):
    return lambda: Sequential([layers.Masking(0.0, input_shape=(6, 4)), Lambda(function), layers.GRU(3)])


def nested_sequential():
    inputs, steps = words()
    inner = Sequential([Lambda(lambda x: x, input_shape=(6, 4)), layers.LSTM(3)])
    return Model(inputs, inner(steps))


def each_step():
    inputs, steps = words()
    return Model(inputs, layers.LSTM(3)(layers.TimeDistributed(Lambda(lambda x: x))(steps)))


def two_branches():
    inputs, steps = words()
    same = Lambda(lambda x: x)(steps)
    return Model(inputs, layers.Concatenate()([layers.LSTM(3)(steps), layers.LSTM(3)(same)]))


def model_of(function, name):
    inputs = Input((5,))
    return Model(inputs, function(inputs), name=name)


def scaled(x):
    return Lambda(lambda t: t * 2 + 1)(x)


def nested_twice():
    inner = model_of(lambda x: scaled(layers.Dense(5)(x)), "inner")
    outer = model_of(lambda x: layers.Add()([inner(x), x]), "outer")
    return model_of(lambda x: outer(inner(outer(x))), "whole")


def nested_shared_inner():
    inner = model_of(lambda x: scaled(layers.Dense(5)(x)), "inner")
    outer = model_of(inner, "outer")
    return model_of(lambda x: layers.Add()([outer(x), inner(x)]), "whole")


def layer_shared_with_nested():
    dense = layers.Dense(5)
    inner = model_of(lambda x: scaled(dense(x)), "inner")
    return model_of(lambda x: layers.Add()([inner(x), dense(x)]), "whole")


def same_name():
    inputs = Input((6, 4))
    parts = [
        Lambda(crop(2, 0, 2), output_shape=(6, 2), name="channels")(inputs),
        Lambda(crop(1, 2, 5), output_shape=(3, 4), name="steps")(inputs),
    ]
    return Model(inputs, layers.Concatenate()([layers.Flatten()(part) for part in parts]))


def pooled(x):
    return layers.GlobalAveragePooling1D()(x)


def flat(x):
    return layers.Flatten()(x)


BUILDERS = {
    "identity": (after_words(lambda x: x), WORDS),
    "identity_pooled": (after_words(lambda x: x, pooled), WORDS),
    "tf_identity": (after_words(lambda x: tf.identity(x)), WORDS),
    "cast": (after_words(lambda x: K.cast(x, "float32")), WORDS),
    "stop_gradient": (after_words(lambda x: K.stop_gradient(x)), WORDS),
    "multiply": (after_words(lambda x: x * 2), WORDS),
    "slice_all": (after_words(lambda x: x[:, :]), WORDS),
    "mask_argument": (
        after_words(
            lambda x, mask=None: x if mask is None else x * K.cast(K.expand_dims(mask), "float32"),
            flat,
        ),
        WORDS,
    ),
    "mask_unused": (after_words(lambda x, mask=None: K.sum(x, axis=1), lambda t: layers.Dense(2)(t)), WORDS),
    "mask_function": (after_words(lambda x: x * 2, mask=lambda inputs, mask=None: mask), WORDS),
    "first_of_two": (both(lambda z: z[0]), WORDS),
    "add_two": (both(lambda z: z[0] + z[1]), WORDS),
    "sequential_identity": (in_turn(lambda x: x), STEPS),
    "sequential_tf_identity": (in_turn(lambda x: tf.identity(x)), STEPS),
    "nested_sequential": (nested_sequential, WORDS),
    "each_step": (each_step, WORDS),
    "two_branches": (two_branches, WORDS),
    "nested_twice": (nested_twice, PLAIN),
    "nested_shared_inner": (nested_shared_inner, PLAIN),
    "layer_shared_with_nested": (layer_shared_with_nested, PLAIN),
    "same_name": (same_name, STEPS),
}


def main(stack, output):
    directory = os.path.join(output, stack)
    os.makedirs(directory, exist_ok=True)
    for name, (build, x) in sorted(BUILDERS.items()):
        base = os.path.join(directory, name)
        try:
            keras.backend.clear_session()
            model = build()
            random_weights(np.random.RandomState(3), model)
            y = np.asarray(model.predict_on_batch(x))
            model.save(base + ".h5")
            np.savez_compressed(base + ".npz", x0=x, y0=y)
        except Exception as error:  # what this Keras cannot build or save is no model of its time
            if os.path.exists(base + ".h5"):
                os.remove(base + ".h5")
            print(stack, name, type(error).__name__, " ".join(str(error).split())[:200])


if __name__ == "__main__":
    sys.path.insert(0, "")
    load("masks.py").main(*sys.argv[1:])
