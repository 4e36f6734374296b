"""The names that Lambda bodies use, from the Keras that the environment variable FLAVOUR names.

Runs under Python 2.7 and 3.6 to 3.13, like the files beside it.
"""

import importlib
import json
import math
import os

import numpy as np
import tensorflow as tf

FLAVOUR = os.environ.get("FLAVOUR", "tf.keras")

if FLAVOUR == "keras":  # Keras before 2.4 or from 3 on, which is a package of its own
    import keras
elif FLAVOUR == "tf_keras":
    import tf_keras as keras
else:
    keras = tf.keras

VERSION = getattr(keras, "__version__", None) or importlib.import_module("keras").__version__
K = backend = keras.backend
if FLAVOUR == "keras" and VERSION[0] == "3":  # `keras.backend` lost its functions; people took them from here
    K = backend = tf.keras.backend
layers, models = keras.layers, keras.models
Model, Sequential, Input = keras.models.Model, keras.models.Sequential, keras.layers.Input
Lambda = keras.layers.Lambda
ops = getattr(keras, "ops", None)
TF1 = tf.__version__[0] == "1"
KERAS3 = VERSION[0] == "3"

__all__ = [
    "FLAVOUR",
    "KERAS3",
    "TF1",
    "VERSION",
    "Input",
    "K",
    "Lambda",
    "Model",
    "Sequential",
    "backend",
    "json",
    "keras",
    "layers",
    "math",
    "models",
    "np",
    "ops",
    "tf",
]
