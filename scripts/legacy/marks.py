"""Write small models that tell, or do not tell, which TensorFlow they are of, and others that Kerases compute apart.

    FLAVOUR=tf.keras python marks.py STACK OUTPUT_DIRECTORY

Runs under Python 3.7, in this directory, as write_corpus.py does, with TensorFlow 1.13 to 2.1 and Keras 2.3. Writes
OUTPUT/STACK/NAME.h5 and .npz (x0, y0).
"""
# ruff: noqa: I001

import os
import sys

from write_corpus import load, random_weights
from stack import Input, K, Lambda, Model, Sequential, keras, layers, np, tf

RANDOM = np.random.RandomState(0)
IMAGE = RANDOM.standard_normal((3, 5, 4, 3)).astype("float32")
PLAIN = RANDOM.standard_normal((3, 6)).astype("float32")
STEPS = RANDOM.standard_normal((3, 4, 6)).astype("float32")
WORDS = np.array([[1, 2, 0, 0, 3], [4, 0, 0, 0, 0], [0, 0, 2, 2, 0]], "float32")


def graph(x, *functions):
    def build():
        made = inputs = Input(x.shape[1:])
        for function in functions:
            made = function()(made)
        return Model(inputs, made)

    return build, x


def in_a_row(x, *functions):
    def build():
        made = Sequential([functions[0](input_shape=x.shape[1:])])
        for function in functions[1:]:
            made.add(function())
        return made

    return build, x


def resize(**more):
    return Lambda(lambda x: tf.image.resize(x, (8, 7)), **more)


def enlarge(**more):
    return Lambda(lambda x: K.resize_images(x, 2, 3, "channels_last", interpolation="bilinear"), **more)


def dense(**more):
    return layers.Dense(6, **more)


def ones():
    return Lambda(lambda x: x * K.ones((6,)) + K.zeros((6,)))


def named():
    return Lambda(lambda x: x * K.ones((6,), name="a") + K.zeros((6,), name="b") + K.ones((6,), name="a"))


def inner():
    inputs = Input((6,))
    return Model(inputs, ones()(dense()(inputs)))


def across():
    return layers.TimeDistributed(Lambda(lambda x: x - K.mean(x, axis=0, keepdims=True)))


def each():
    return layers.TimeDistributed(Lambda(lambda x: x - K.mean(x, axis=1, keepdims=True)))


def embedding(**more):
    return layers.Embedding(5, 4, mask_zero=True, **more)


def both_ways():
    return layers.Bidirectional(layers.LSTM(3, return_sequences=True))


def last():
    return layers.LSTM(2)


def joined():
    inputs = Input(WORDS.shape[1:])
    steps = embedding()(inputs)
    return Model(inputs, layers.GRU(3)(layers.concatenate([steps, layers.Dropout(0.5)(steps)])))


def mixed():
    """Trained under the policy mixed_float16, which TensorFlow 2.0 and 2.1 do not write down."""
    keras.mixed_precision.experimental.set_policy("mixed_float16")
    try:
        return graph(PLAIN, dense, lambda: Lambda(lambda x: x * 3), lambda: layers.Dense(2, dtype="float32"))[0]()
    finally:
        keras.mixed_precision.experimental.set_policy("float32")


BUILDERS = {
    "resize": graph(IMAGE, resize),
    "resize_in_a_row": in_a_row(IMAGE, resize),
    "resize_after_dense": in_a_row(PLAIN, dense, lambda: layers.Reshape((2, 3, 1)), resize),
    "enlarge": graph(IMAGE, enlarge),
    "enlarge_in_a_row": in_a_row(IMAGE, enlarge),
    "upsampling": graph(IMAGE, lambda: layers.UpSampling2D(2, interpolation="bilinear")),
    "ones": graph(PLAIN, dense, ones),
    "ones_named": graph(PLAIN, dense, named),
    "ones_nested": graph(PLAIN, inner),
    "eye": graph(PLAIN, lambda: Lambda(lambda x: K.dot(x, K.eye(6)))),
    "constant": graph(PLAIN, lambda: Lambda(lambda x: K.constant([[1.0, 2.0]]))),
    "shape": graph(IMAGE, lambda: Lambda(lambda x: tf.shape(x)[1:3])),
    "across": graph(STEPS, across),
    "each": graph(STEPS, each),
    "masked_seen": graph(WORDS, embedding, both_ways, lambda: layers.TimeDistributed(layers.Dense(2))),
    "masked_left_out": graph(WORDS, embedding, both_ways, lambda: layers.Dropout(0.1), last),
    "joined": (joined, WORDS),
    "mixed": (mixed, PLAIN),
    "mixed_trained": (mixed, PLAIN),
}
TRAINED = ("ones", "ones_nested", "mixed_trained")


def main(stack, output):
    directory = os.path.join(output, stack)
    os.makedirs(directory, exist_ok=True)
    for name, (build, x) in sorted(BUILDERS.items()):
        keras.backend.clear_session()
        try:
            model = build()
            random_weights(np.random.RandomState(1), model)
            if name in TRAINED:
                model.compile("adam", "mse")
                model.train_on_batch(x, np.zeros_like(model.predict_on_batch(x)))
            y = model.predict_on_batch(x)
            model.save(os.path.join(directory, name + ".h5"))
        except Exception as error:  # what this Keras cannot build or save is no model of its time
            print(stack, name, type(error).__name__, " ".join(str(error).split())[:200])
            continue
        np.savez_compressed(os.path.join(directory, name + ".npz"), x0=x, y0=np.asarray(y))


if __name__ == "__main__":
    sys.path.insert(0, "")
    load("marks.py").main(*sys.argv[1:])
