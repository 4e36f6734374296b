"""Library functions that no table of rules will ever hold, each with the reason: the rest of "it calls X, which"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["GIVES_ANY_SHAPE", "MAKES_VARIABLE", "NEVER", "reason_against"]

_RANDOM: Final = "draws random numbers"
_PHASE: Final = "asks whether the model is being trained, which an exported model does not know"
MAKES_VARIABLE: Final = "makes or changes a variable, whose value is not in the function"
_SETTINGS: Final = "changes the settings of Keras"
_SESSION: Final = "needs a program that is running"
_CODE: Final = "runs code of Python while the model runs"
_PRINTS: Final = "prints while the model runs"
_EACH: Final = "calls a function on one part of a tensor after the other, which no operation of Keras does"
GIVES_ANY_SHAPE: Final = "gives a tensor whose shape depends on the numbers in it"
_GRADIENT: Final = "differentiates"
_ASKS: Final = "asks what a value is, which differs from version to version of the libraries"

_REASONS: Final[Mapping[str, str]] = {
    # A name that ends in a dot is a module: all that is in it.
    "K.random_normal K.random_uniform K.random_binomial K.random_bernoulli K.random_normal_variable "
    "K.random_uniform_variable K.truncated_normal K.dropout tf.random. tf.random_normal tf.random_uniform "
    "tf.random_shuffle tf.random_crop tf.random_gamma tf.random_poisson tf.truncated_normal tf.multinomial "
    "tf.nn.dropout tf.layers.dropout tf.set_random_seed np.random. keras.random. tf.image.random_brightness "
    "tf.image.random_contrast tf.image.random_crop tf.image.random_flip_left_right tf.image.random_flip_up_down "
    "tf.image.random_hue tf.image.random_saturation": _RANDOM,
    "K.learning_phase K.in_train_phase K.in_test_phase K.symbolic_learning_phase K.learning_phase_scope": _PHASE,
    "K.placeholder K.update K.update_add K.update_sub K.moving_average_update K.set_value "
    "K.batch_set_value tf.Variable tf.get_variable tf.placeholder tf.assign tf.assign_add tf.assign_sub "
    "tf.global_variables_initializer": MAKES_VARIABLE,
    "K.set_floatx K.set_epsilon K.set_image_data_format K.set_image_dim_ordering K.set_learning_phase "
    "K.clear_session K.set_session K.reset_uids K.manual_variable_initialization": _SETTINGS,
    "K.get_session K.eval K.get_value K.batch_get_value K.function tf.Session tf.get_default_graph "
    "tf.executing_eagerly ops.convert_to_numpy": _SESSION,
    "tf.py_func tf.py_function tf.numpy_function tf.import_graph_def tf.load_op_library tf.io. tf.saved_model. "
    "eval exec getattr setattr globals locals vars __import__": _CODE,
    "K.print_tensor tf.print tf.Print tf.debugging. tf.Assert tf.assert_equal tf.summary. print": _PRINTS,
    "K.map_fn K.foldl K.foldr K.rnn tf.map_fn tf.foldl tf.foldr tf.scan tf.while_loop tf.vectorized_map ops.map "
    "ops.scan ops.vectorized_map ops.while_loop ops.fori_loop ops.associative_scan": _EACH,
    "tf.unique tf.unique_with_counts tf.dynamic_partition tf.nn.ctc_greedy_decoder "
    "K.ctc_decode ops.nonzero": GIVES_ANY_SHAPE,
    "K.gradients tf.gradients tf.GradientTape tf.custom_gradient": _GRADIENT,
    "K.is_keras_tensor K.is_placeholder hasattr callable": _ASKS,
}
NEVER: Final[Mapping[str, str]] = {name: reason for names, reason in _REASONS.items() for name in names.split()}


def reason_against(path: str) -> str | None:
    """Why a function is refused whatever it is called with, or None."""
    if path in NEVER:
        return NEVER[path]
    parts = path.split(".")
    above = (".".join(parts[:count]) + "." for count in range(1, len(parts)))
    return next((NEVER[module] for module in above if module in NEVER), None)
