"""Write tests/fixtures/cudnn: a model of CuDNN layers, which only a GPU runs, by a real old TensorFlow.

Run by the Python of a TensorFlow 2 stack below 2.16: `python scripts/legacy/cudnn.py tests/fixtures/cudnn`.
The outputs are those of LSTM and GRU layers into which that TensorFlow itself loads the file's weights.
"""

import os
import sys

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import tensorflow as tf
from tensorflow import keras


def model(lstm, gru):
    inputs = keras.Input((5, 3), name="steps")
    x = keras.layers.Bidirectional(lstm(4, return_sequences=True), name="both")(inputs)
    x = lstm(3, return_sequences=True, go_backwards=True, name="lstm")(x)
    return keras.Model(inputs, [gru(2, name="gru")(x), x])


def main(folder):
    old = tf.compat.v1.keras.layers
    random = np.random.RandomState(0)
    made = model(old.CuDNNLSTM, old.CuDNNGRU)
    made.set_weights([random.normal(size=each.shape).astype("float32") for each in made.get_weights()])
    made.save(os.path.join(folder, "cudnn.h5"))
    twin = model(keras.layers.LSTM, keras.layers.GRU)
    twin.load_weights(os.path.join(folder, "cudnn.h5"))
    x = random.normal(size=(4, 5, 3)).astype("float32")
    y = twin.predict(x)
    np.savez(os.path.join(folder, "cudnn.npz"), x0=x, y0=y[0], y1=y[1])


if __name__ == "__main__":
    main(sys.argv[1])
