"""Write tests/fixtures/gone: models of layers with weights that Keras 3 no longer has, by a real old TensorFlow.

Run by a TensorFlow 2 stack below 2.16: `python scripts/legacy/gone.py tests/fixtures/gone h5`, or `keras` for the
zip archive of 2.13 and later. No CPU runs CuDNN layers: their outputs are those of LSTM and GRU layers into which
TensorFlow itself loads the file's weights.
"""

import os
import sys

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers


def recurrent(lstm, gru):
    inputs = keras.Input((5, 3), name="steps")
    x = layers.Bidirectional(lstm(4, return_sequences=True), name="both")(inputs)
    x = lstm(3, return_sequences=True, go_backwards=True, name="lstm")(x)
    return keras.Model(inputs, [gru(2, name="gru")(x), x])


def local():
    steps, image = keras.Input((9, 3), name="steps"), keras.Input((8, 9, 2), name="image")
    line = layers.LocallyConnected1D(4, 3, strides=2, activation="hard_sigmoid", name="line")
    inner = keras.Sequential(
        [layers.LocallyConnected2D(3, (2, 3), strides=(1, 2), activation="relu", input_shape=(8, 9, 2), name="plane"),
         layers.LocallyConnected2D(2, 2, use_bias=False, name="unbiased")], name="inner"
    )  # fmt: skip
    return keras.Model([steps, image], [line(steps), line(layers.Activation("tanh")(steps)), inner(image)])


def filled(model):
    random = np.random.RandomState(0)
    model.set_weights([random.normal(size=each.shape).astype("float32") for each in model.get_weights()])
    return model


def main(folder, form):
    random = np.random.RandomState(1)
    made = filled(local())
    made.save(os.path.join(folder, "local." + form))
    x = [random.normal(size=(4, 9, 3)).astype("float32"), random.normal(size=(4, 8, 9, 2)).astype("float32")]
    y = made.predict(x)
    np.savez(os.path.join(folder, "local.npz"), x0=x[0], x1=x[1], y0=y[0], y1=y[1], y2=y[2])
    if form == "h5":
        old = tf.compat.v1.keras.layers
        filled(recurrent(old.CuDNNLSTM, old.CuDNNGRU)).save(os.path.join(folder, "cudnn.h5"))
        twin = recurrent(layers.LSTM, layers.GRU)
        twin.load_weights(os.path.join(folder, "cudnn.h5"))
        x = random.normal(size=(4, 5, 3)).astype("float32")
        y = twin.predict(x)
        np.savez(os.path.join(folder, "cudnn.npz"), x0=x, y0=y[0], y1=y[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
