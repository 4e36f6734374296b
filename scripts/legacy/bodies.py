"""Lambda bodies as public code writes them, for write_corpus.py to save with the Keras of each stack.

Runs under Python 2.7 and 3.6 to 3.13, and has no `from __future__`, so that `/` is what it was in old files.
Kinds: "library" names library functions, constants and arguments only; "flow" has conditions, loops, comprehensions or
functions inside; "unknowable" uses what the file does not hold. A `def` that the Keras at hand stores by name only becomes
"named" in the manifest. `needs`: "tf1", "tf2", "keras2", "keras3" where a body is of that time only; other absences
are found by trying. `data`: how inputs are drawn ("normal", "positive", "image" 0..255, "unit" 0..1, "index").
"""
# Old code as people wrote it.
# ruff: noqa

from stack import K, Lambda, backend, keras, layers, math, np, ops, tf

BODIES = []
CATEGORY = [""]
IMAGE, RGB, VECTOR, SEQUENCE = (4, 4, 6), (4, 4, 3), (6,), (5, 6)
BIG = (6, 5, 3)


def category(name):
    CATEGORY[0] = name


def add(name, function, shape=IMAGE, kind="library", needs="", data="normal", dtype="float32", note="", **layer):
    """One body. `shape` is one shape, or a list of them for a list of inputs; `layer` goes to Lambda(...)."""
    BODIES.append(
        {
            "name": CATEGORY[0] + "_" + name,
            "category": CATEGORY[0],
            "function": function,
            "shapes": shape if isinstance(shape, list) else [shape],
            "kind": kind,
            "needs": needs,
            "data": data,
            "dtype": dtype,
            "note": note,
            "layer": layer,
        }
    )


category("reduce")
add("k_max_axis3_keepdims", lambda x: K.max(x, axis=3, keepdims=True))
add("k_mean_axis3_keepdims", lambda x: K.mean(x, axis=3, keepdims=True))
add("k_mean_axis_negative", lambda x: K.mean(x, axis=-1, keepdims=True))
add("k_mean_list", lambda x: K.mean(x, axis=[1, 2]))
add("k_mean_tuple_keepdims", lambda x: K.mean(x, axis=(1, 2), keepdims=True))
add("k_mean_positional", lambda x: K.mean(x, 1), SEQUENCE)
add("k_mean_positional_keepdims", lambda x: K.mean(x, -1, True))
add("k_mean_none", lambda x: K.mean(x))
add("k_sum_axis1", lambda x: K.sum(x, axis=1), SEQUENCE)
add("k_sum_axis1_shape", lambda x: K.sum(x, axis=1), SEQUENCE, output_shape=(6,))
add("k_sum_axis_function_shape", lambda x: K.sum(x, axis=1), SEQUENCE, output_shape=lambda s: (s[0], s[2]))
add("k_sum_none_axis", lambda x: K.sum(x, axis=None))
add("k_min_axis", lambda x: K.min(x, axis=2))
add("k_prod", lambda x: K.prod(x, axis=-1), VECTOR)
add("k_std", lambda x: K.std(x, axis=1))
add("k_std_keepdims", lambda x: K.std(x, axis=[1, 2, 3], keepdims=True))
add("k_var", lambda x: K.var(x, axis=-1, keepdims=True))
add("k_any_greater", lambda x: K.any(x > 1.0, axis=-1))
add("k_all_cast", lambda x: K.cast(K.all(x > -1.5, axis=-1, keepdims=True), "float32"))
add("keras_backend_max", lambda x: keras.backend.max(x, axis=1), SEQUENCE)
add("backend_mean", lambda x: backend.mean(x, axis=[2, 3], keepdims=True))
add("tf_keras_backend_sum", lambda x: tf.keras.backend.sum(x, axis=-1))
add("tf_reduce_mean", lambda x: tf.reduce_mean(x, axis=[1, 2], keepdims=True))
add("tf_reduce_mean_positional", lambda x: tf.reduce_mean(x, [1, 2]))
add("tf_reduce_max_negative", lambda x: tf.reduce_max(x, axis=-1, keepdims=True))
add("tf_reduce_min_name", lambda x: tf.reduce_min(x, axis=1, name="lowest"))
add("tf_reduce_sum_none", lambda x: tf.reduce_sum(x))
add("tf_reduce_sum_tuple", lambda x: tf.reduce_sum(x, axis=(1, 3)))
add("tf_reduce_prod", lambda x: tf.reduce_prod(x, axis=1), VECTOR)
add("tf_math_reduce_std", lambda x: tf.math.reduce_std(x, axis=-1, keepdims=True))
add("tf_math_reduce_variance", lambda x: tf.math.reduce_variance(x, axis=[1, 2]))
add("tf_math_reduce_mean", lambda x: tf.math.reduce_mean(x, axis=3, keepdims=True))
add("tf_reduce_any", lambda x: tf.reduce_any(x > 1, axis=1), VECTOR)
add("tf_reduce_all", lambda x: tf.reduce_all(tf.greater(x, -2.0), axis=[1, 2]))
add("tf_logsumexp", lambda x: tf.reduce_logsumexp(x, axis=-1))
add("tf_math_logsumexp", lambda x: tf.math.reduce_logsumexp(x, axis=1, keepdims=True), VECTOR)
add("k_logsumexp", lambda x: K.logsumexp(x, axis=-1), needs="keras2")
add("tf1_reduction_indices", lambda x: tf.reduce_mean(x, reduction_indices=[1, 2]), needs="tf1")
add("tf1_keep_dims", lambda x: tf.reduce_sum(x, axis=3, keep_dims=True), needs="tf1")
add("tf1_reduction_indices_keep", lambda x: tf.reduce_max(x, reduction_indices=[3], keep_dims=True), needs="tf1")
add("tf_moments", lambda x: tf.nn.moments(x, axes=[1, 2])[0])
add("tf_moments_variance", lambda x: tf.nn.moments(x, [1, 2], keepdims=True)[1])
add("ops_max", lambda x: ops.max(x, axis=3, keepdims=True))
add("ops_mean", lambda x: keras.ops.mean(x, axis=[1, 2]))
add("ops_std_var", lambda x: ops.std(x, axis=-1) + ops.var(x, axis=-1))
add("ops_sum_prod", lambda x: ops.sum(x, axis=1) * ops.prod(x, axis=1), SEQUENCE)
add("ops_min_all_any", lambda x: ops.any(ops.min(x, axis=1) < -0.5, axis=-1))
add("ops_logsumexp", lambda x: ops.logsumexp(x, axis=-1))
add("cumsum_k", lambda x: K.cumsum(x, axis=1), SEQUENCE)
add("cumprod_k", lambda x: K.cumprod(x, axis=-1), VECTOR)
add("cumsum_tf", lambda x: tf.cumsum(x, axis=1, exclusive=True), SEQUENCE)
add("cumsum_tf_reverse", lambda x: tf.math.cumsum(x, axis=-1, reverse=True), VECTOR)
add("cumsum_ops", lambda x: ops.cumsum(x, axis=1), SEQUENCE)
add("norm_tf", lambda x: tf.norm(x, axis=-1))
add("norm_tf_ord1", lambda x: tf.norm(x, ord=1, axis=1, keepdims=True), SEQUENCE)
add("norm_tf_euclidean", lambda x: tf.norm(x, ord="euclidean", axis=-1, keepdims=True), VECTOR)
add("norm_tf_linalg", lambda x: tf.linalg.norm(x, axis=-1, keepdims=True))
add("norm_capsule_length", lambda x: K.sqrt(K.sum(K.square(x), axis=2)), SEQUENCE)
add("norm_capsule_epsilon", lambda x: K.sqrt(K.sum(K.square(x), -1) + K.epsilon()), SEQUENCE)
add("norm_ops", lambda x: ops.norm(x, axis=-1, keepdims=True), SEQUENCE)

category("arith")
add("divide_255", lambda x: x / 255.0, RGB, data="image")
add("divide_255_int", lambda x: x / 255, RGB, data="image")
add("divide_127_minus_1", lambda x: x / 127.5 - 1.0, RGB, data="image")
add("divide_127_minus_1_ints", lambda x: (x / 127.5) - 1, RGB, data="image", input_shape=RGB)
add("divide_255_minus_half", lambda x: (x / 255.0) - 0.5, RGB, data="image", input_shape=RGB, output_shape=RGB)
add("minus_mean_over_127", lambda x: (x - 127.5) / 127.5, RGB, data="image")
add("times_2_minus_1", lambda x: x * 2 - 1, RGB, data="unit")
add("times_2_minus_1_left", lambda x: 2.0 * x - 1.0, RGB, data="unit")
add("mean_subtraction_list", lambda x: x - [103.939, 116.779, 123.68], RGB, data="image")
add("mean_subtraction_array", lambda x: x - np.array([103.939, 116.779, 123.68]), RGB, data="image")
add("mean_subtraction_float32", lambda x: x - np.array([103.939, 116.779, 123.68], dtype=np.float32), RGB, data="image")
add(
    "mean_std_arrays",
    lambda x: (x - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225]),
    RGB,
    data="unit",
)
add(
    "mean_std_tf",
    lambda x: (x - tf.constant([0.485, 0.456, 0.406])) / tf.constant([0.229, 0.224, 0.225]),
    RGB,
    data="unit",
)
add(
    "mean_std_k",
    lambda x: (x / 255.0 - K.constant([0.485, 0.456, 0.406])) / K.constant([0.229, 0.224, 0.225]),
    RGB,
    data="image",
)
add("bgr_mean", lambda x: x[..., ::-1] - np.array([103.939, 116.779, 123.68]).reshape((1, 1, 1, 3)), RGB, data="image")
add("denormalise", lambda x: (x + 1) * 127.5, RGB)
add("one_minus", lambda x: 1 - x)
add("one_minus_float", lambda x: 1.0 - x)
add("one_over", lambda x: 1.0 / (x + 5.0), data="positive")
add("negate", lambda x: -x)
add("times_constant", lambda x: x * 0.1)
add("scale_left", lambda x: 0.5 * x)
add("plus", lambda x: x + 3)
add("plus_left", lambda x: 3.5 + x)
add("square_operator", lambda x: x**2)
add("power_float", lambda x: x**0.5, data="positive")
add("power_left", lambda x: 2.0**x)
add("modulo", lambda x: x % 3)
add("modulo_float", lambda x: x % 0.75)
add("floor_divide", lambda x: x // 2)
add("floor_divide_left", lambda x: 3.0 // x, data="positive")
add("modulo_left", lambda x: 5.0 % x, data="positive")
add("self_product", lambda x: x * x - x)
add("polynomial", lambda x: 0.25 * x**3 - 0.5 * x**2 + x - 2)
add("k_pow", lambda x: K.pow(x, 2))
add("k_pow_3", lambda x: keras.backend.pow(x, 3))
add("tf_pow", lambda x: tf.pow(x, 2.0))
add("tf_multiply", lambda x: tf.multiply(x, 0.5))
add("tf_multiply_left", lambda x: tf.multiply(0.3, x))
add("tf_add_subtract", lambda x: tf.subtract(tf.add(x, 2.0), 0.5))
add("tf_scalar_mul", lambda x: tf.scalar_mul(0.5, x))
add("tf_divide", lambda x: tf.divide(x, 4.0))
add("tf_truediv", lambda x: tf.truediv(x, 3.0))
add("tf_math_divide", lambda x: tf.math.divide(x, 2.0))
add("tf_math_multiply", lambda x: tf.math.multiply(x, x))
add("tf_math_add", lambda x: tf.math.add(x, 1.5))
add("tf_math_subtract", lambda x: tf.math.subtract(1.5, x))
add("tf1_div", lambda x: tf.div(x, 2.0), needs="tf1")
add("tf1_mod", lambda x: tf.mod(x, 2.0), needs="tf1")
add("tf_floormod", lambda x: tf.math.floormod(x, 2.0))
add("tf_math_mod", lambda x: tf.math.mod(x, 1.5))
add("tf_floordiv", lambda x: tf.math.floordiv(x, 0.5))
add("tf_floor_div_op", lambda x: tf.floor(x / 0.5) * 0.5)
add("divide_no_nan", lambda x: tf.math.divide_no_nan(x, tf.nn.relu(x)))
add("tf_negative", lambda x: tf.negative(x))
add("tf_reciprocal", lambda x: tf.math.reciprocal(x), data="positive")
add("tf_squared_difference", lambda x: tf.math.squared_difference(x, 0.5))
add("tf1_squared_difference", lambda x: tf.squared_difference(x, 0.5), needs="tf1")
add("tf_add_n", lambda x: tf.add_n([x, x, x * 2]))
add("tf_accumulate", lambda x: tf.math.add_n([x, 2 * x]))
add("greater", lambda x: x > 0.5)
add("greater_cast", lambda x: K.cast(x > 0.5, "float32"))
add("greater_equal_k", lambda x: K.cast(K.greater_equal(x, 0.0), K.floatx()))
add("less_k", lambda x: K.cast(K.less(x, 0.25), dtype="float32"))
add("comparisons_tf", lambda x: tf.cast(tf.less_equal(x, 0.5), tf.float32) + tf.cast(tf.greater(x, -0.5), tf.float32))
add("equal_k", lambda x: K.cast(K.equal(x, K.max(x, axis=-1, keepdims=True)), "float32"))
add("not_equal_k", lambda x: K.cast(K.not_equal(x, 0), "float32") * x, VECTOR, data="index")
add("logical", lambda x: tf.cast(tf.logical_and(x > -1.0, tf.logical_not(x > 1.0)), tf.float32))
add("logical_operators", lambda x: tf.cast((x > -1.0) & (x < 1.0) | (x > 2.0), "float32"))
add("invert_operator", lambda x: ~(x > 0))
add("where_tf", lambda x: tf.where(x > 0, x, tf.zeros_like(x)))
add("where_tf_multiply", lambda x: tf.where(tf.greater(x, 0.5), x, 0.1 * x))
add("where_tf2_scalar", lambda x: tf.where(x > 0, x, 0.0), needs="tf2")
add("switch_k", lambda x: K.switch(x > 0, x, 0.1 * x), note="K.switch on an elementwise condition")
add("maximum_k", lambda x: K.maximum(x, 0.0))
add("maximum_left_k", lambda x: K.maximum(0.5, x))
add("minimum_k", lambda x: K.minimum(x, 1.0))
add("maximum_minimum_tf", lambda x: tf.maximum(tf.minimum(x, 1.0), -1.0))
add("maximum_left_tf", lambda x: tf.maximum(0.2 * x, x))
add("minimum_tf_math", lambda x: tf.math.minimum(6.0, tf.math.maximum(0.0, x)))
add("ops_operators", lambda x: (2 - x) / 3 + x**2 % 1.5 - x // 0.5)
add("ops_where", lambda x: ops.where(x > 0, x, -0.5 * x))
add("ops_maximum", lambda x: ops.maximum(ops.minimum(x, 1.0), -0.5))
add("ops_arithmetic", lambda x: ops.subtract(ops.add(x, 1.0), ops.multiply(x, 0.25)) + ops.divide(x, 2.0))
add("ops_power_mod", lambda x: ops.power(x, 2) + ops.mod(x, 1.5) + ops.floor_divide(x, 0.5))
add("ops_comparison", lambda x: ops.cast(ops.logical_or(ops.greater(x, 1.0), ops.less_equal(x, -1.0)), "float32"))
add("ops_divide_no_nan", lambda x: ops.divide_no_nan(x, ops.relu(x)))

category("unary")
add("k_relu", lambda x: K.relu(x))
add("k_relu_alpha", lambda x: K.relu(x, alpha=0.1))
add("k_relu_positional", lambda x: K.relu(x, 0.2))
add("k_relu_max_value", lambda x: K.relu(x, max_value=6))
add("k_relu_all", lambda x: K.relu(x, alpha=0.1, max_value=1.5, threshold=0.25))
add("k_relu_threshold", lambda x: K.relu(x, threshold=0.5))
add("tf_relu", lambda x: tf.nn.relu(x))
add("tf_relu_name", lambda x: tf.nn.relu(x, name="act"))
add("tf_relu6", lambda x: tf.nn.relu6(x))
add("tf_leaky_relu", lambda x: tf.nn.leaky_relu(x))
add("tf_leaky_relu_alpha", lambda x: tf.nn.leaky_relu(x, alpha=0.05))
add("tf_leaky_relu_positional", lambda x: tf.nn.leaky_relu(x, 0.3))
add("k_softmax", lambda x: K.softmax(x))
add("k_softmax_axis", lambda x: K.softmax(x, axis=1), SEQUENCE)
add("tf_softmax", lambda x: tf.nn.softmax(x))
add("tf_softmax_axis", lambda x: tf.nn.softmax(x, axis=1), SEQUENCE)
add("tf1_softmax_dim", lambda x: tf.nn.softmax(x, dim=1), SEQUENCE, needs="tf1")
add("tf_softmax_temperature", lambda x: tf.nn.softmax(x / 0.07, axis=-1), VECTOR)
add("tf_log_softmax", lambda x: tf.nn.log_softmax(x))
add("softmax_activation", lambda x: keras.activations.softmax(x, axis=1), SEQUENCE)
add("softmax_by_hand", lambda x: K.exp(x) / K.sum(K.exp(x), axis=-1, keepdims=True), VECTOR)
add("softmax_stable", lambda x: K.exp(x - K.max(x, axis=1, keepdims=True)), VECTOR)
add("k_sigmoid", lambda x: K.sigmoid(x))
add("tf_sigmoid", lambda x: tf.sigmoid(x))
add("tf_nn_sigmoid", lambda x: tf.nn.sigmoid(x))
add("tf_math_sigmoid", lambda x: tf.math.sigmoid(x))
add("sigmoid_activation", lambda x: keras.activations.sigmoid(x))
add("k_hard_sigmoid", lambda x: K.hard_sigmoid(x))
add("hard_sigmoid_activation", lambda x: keras.activations.hard_sigmoid(x), note="Keras 3 redefined hard_sigmoid")
add("hard_sigmoid_relu6", lambda x: tf.nn.relu6(x + 3.0) / 6.0)
add("hard_swish_relu6", lambda x: x * tf.nn.relu6(x + 3) / 6)
add("hard_swish_k", lambda x: x * K.relu(x + 3.0, max_value=6.0) / 6.0)
add("swish_k", lambda x: x * K.sigmoid(x))
add("swish_tf", lambda x: tf.nn.swish(x))
add("swish_beta", lambda x: x * keras.backend.sigmoid(1.5 * x))
add("silu_tf", lambda x: tf.nn.silu(x))
add("mish_k", lambda x: x * K.tanh(K.softplus(x)))
add("mish_tf", lambda x: x * tf.math.tanh(tf.math.softplus(x)))
add("gelu_tanh", lambda x: 0.5 * x * (1 + tf.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * tf.pow(x, 3)))))
add("gelu_erf", lambda x: 0.5 * x * (1.0 + tf.math.erf(x / tf.sqrt(2.0))))
add("gelu_math", lambda x: 0.5 * x * (1.0 + tf.math.erf(x / math.sqrt(2.0))))
add("gelu_tf_nn", lambda x: tf.nn.gelu(x))
add("gelu_tf_nn_approximate", lambda x: tf.nn.gelu(x, approximate=True))
add("k_tanh", lambda x: K.tanh(x))
add("tf_tanh", lambda x: tf.nn.tanh(x))
add("tanh_scaled", lambda x: 1.7159 * K.tanh(2.0 / 3.0 * x))
add("k_softplus", lambda x: K.softplus(x))
add("tf_softplus", lambda x: tf.nn.softplus(x) + 1e-6)
add("k_softsign", lambda x: K.softsign(x))
add("tf_softsign", lambda x: tf.nn.softsign(x))
add("k_elu", lambda x: K.elu(x))
add("k_elu_alpha", lambda x: K.elu(x, alpha=0.5))
add("tf_elu_plus_one", lambda x: tf.nn.elu(x) + 1 + 1e-14)
add("selu_tf", lambda x: tf.nn.selu(x))
add("selu_activation", lambda x: keras.activations.selu(x))
add("activation_elu", lambda x: keras.activations.elu(x, alpha=0.3))
add("activation_tf_keras", lambda x: tf.keras.activations.relu(x, alpha=0.2))
add("activation_get", lambda x: keras.activations.get("tanh")(x))
add("k_log", lambda x: K.log(x), data="positive")
add("k_log_epsilon", lambda x: K.log(x + K.epsilon()), data="positive")
add("tf_log", lambda x: tf.math.log(x + 1e-7), data="positive")
add("tf1_log", lambda x: tf.log(x), data="positive", needs="tf1")
add("tf_log1p", lambda x: tf.math.log1p(x), data="positive")
add("log_power_spectrum", lambda x: 10.0 * tf.math.log(x) / np.log(10.0), data="positive")
add("log_ratio_math", lambda x: K.log(x) / math.log(2), data="positive")
add("k_exp", lambda x: K.exp(x))
add("tf_exp", lambda x: tf.exp(x))
add("tf_expm1", lambda x: tf.math.expm1(x))
add("k_sqrt", lambda x: K.sqrt(x), data="positive")
add("signed_sqrt", lambda x: K.sign(x) * K.sqrt(K.abs(x) + 1e-9))
add("tf_sqrt", lambda x: tf.sqrt(x), data="positive")
add("tf_rsqrt", lambda x: tf.math.rsqrt(x), data="positive")
add("tf1_rsqrt", lambda x: tf.rsqrt(x), data="positive", needs="tf1")
add("k_square", lambda x: K.square(x))
add("tf_square", lambda x: tf.square(x))
add("k_abs", lambda x: K.abs(x))
add("tf_abs", lambda x: tf.abs(x))
add("builtin_abs", lambda x: abs(x))
add("k_sign", lambda x: K.sign(x))
add("tf_sign", lambda x: tf.sign(x))
add("k_round", lambda x: K.round(x))
add("tf_round", lambda x: tf.round(x))
add("tf_floor_ceil", lambda x: tf.floor(x) + tf.math.ceil(x))
add("k_sin_cos", lambda x: K.sin(x) + K.cos(x))
add("tf_trig", lambda x: tf.sin(x) * tf.cos(x) + tf.atan(x))
add("tf_atan2", lambda x: tf.atan2(x[:, 0:1], x[:, 1:2]), VECTOR)
add("k_clip", lambda x: K.clip(x, 0.0, 1.0))
add("k_clip_keywords", lambda x: K.clip(x, min_value=-1, max_value=1))
add("k_clip_epsilon", lambda x: K.clip(x, K.epsilon(), 1 - K.epsilon()))
add("tf_clip", lambda x: tf.clip_by_value(x, -0.5, 0.5))
add("tf_clip_keywords", lambda x: tf.clip_by_value(x, clip_value_min=0, clip_value_max=6))
add("k_cast_int", lambda x: K.cast(x, "int32"), data="image")
add("k_cast_index", lambda x: K.cast(x, "float32") / 255.0, RGB, data="image", dtype="uint8")
add("tf_cast", lambda x: tf.cast(x, tf.float32), RGB, data="image", dtype="int32")
add("tf_cast_string", lambda x: tf.cast(x, "float32") * 2, VECTOR, data="index", dtype="int32")
add("tf_cast_np", lambda x: tf.cast(x, np.float32) + 1, VECTOR, data="index", dtype="int64")
add("tf_cast_float64", lambda x: tf.cast(x, tf.float64))
add("tf_cast_float16_back", lambda x: tf.cast(tf.cast(x, tf.float16), tf.float32))
add("tf1_to_float", lambda x: tf.to_float(x), VECTOR, data="index", dtype="int32", needs="tf1")
add("tf_convert_image_dtype", lambda x: tf.image.convert_image_dtype(x, tf.float32), RGB, data="image", dtype="uint8")
add("quantise", lambda x: K.round(K.clip(x, 0, 1) * 255.0) / 255.0)
add("straight_through", lambda x: x + K.stop_gradient(K.round(x) - x))
add("binary_round", lambda x: K.round(K.sigmoid(x)))
add("ops_activations", lambda x: ops.relu(x) + ops.sigmoid(x) + ops.tanh(x) + ops.softplus(x))
add("ops_gelu", lambda x: ops.gelu(x, approximate=False) + ops.gelu(x))
add("ops_silu", lambda x: ops.silu(x) + ops.leaky_relu(x, negative_slope=0.1) + ops.elu(x) + ops.selu(x))
add("ops_softmax", lambda x: ops.softmax(x, axis=1), SEQUENCE)
add("ops_relu6", lambda x: x * ops.relu6(x + 3) / 6 + ops.hard_sigmoid(x))
add("ops_math", lambda x: ops.sqrt(ops.abs(x)) + ops.square(x) + ops.sign(x) + ops.round(x) + ops.exp(-x))
add("ops_log_rsqrt", lambda x: ops.log(x) + ops.rsqrt(x) + ops.log1p(x), data="positive")
add("ops_clip", lambda x: ops.clip(x, -1.0, 1.0))
add("ops_cast", lambda x: ops.cast(x, "float32") / 255, RGB, data="image", dtype="uint8")
add("ops_erf", lambda x: 0.5 * x * (1 + ops.erf(x / 1.4142135)))

category("shape")
add("k_stack", lambda x: K.stack([x, 2 * x], axis=1), VECTOR)
add("k_stack_last", lambda x: K.stack([x, x], axis=-1))
add("tf_stack", lambda x: tf.stack([x, -x], axis=1), VECTOR)
add("k_concatenate", lambda x: K.concatenate([x, -x], axis=-1))
add("k_concatenate_default", lambda x: K.concatenate([x, x * x]))
add("tf_concat", lambda x: tf.concat([x, tf.zeros_like(x)], axis=3))
add("tf_concat_positional", lambda x: tf.concat([x, x], 3))
add("tf_concat_keywords", lambda x: tf.concat(axis=-1, values=[x, x + 1]))
add("crelu", lambda x: tf.nn.crelu(x))
add("k_squeeze", lambda x: K.squeeze(x, axis=1), (1, 6))
add("k_squeeze_positional", lambda x: K.squeeze(x, 1), (1, 5, 6))
add("k_squeeze_twice", lambda x: K.squeeze(K.squeeze(x, 1), 1), (1, 1, 6))
add("tf_squeeze", lambda x: tf.squeeze(x, axis=[1, 2]), (1, 1, 6))
add("tf_squeeze_int", lambda x: tf.squeeze(x, axis=-1), (4, 4, 1))
add("tf_squeeze_positional", lambda x: tf.squeeze(x, [1]), (1, 6))
add("tf1_squeeze_dims", lambda x: tf.squeeze(x, squeeze_dims=[1]), (1, 6), needs="tf1")
add("tf1_expand_dim", lambda x: tf.expand_dims(x, dim=1), VECTOR, needs="tf1")
add("k_expand_dims", lambda x: K.expand_dims(x, axis=1), VECTOR)
add("k_expand_dims_default", lambda x: K.expand_dims(x))
add("k_expand_dims_twice", lambda x: K.expand_dims(K.expand_dims(x, 1), 1), VECTOR)
add("tf_expand_dims", lambda x: tf.expand_dims(x, -1), SEQUENCE)
add("tf_expand_dims_axis", lambda x: tf.expand_dims(x, axis=3), SEQUENCE + (2,))
add("k_permute", lambda x: K.permute_dimensions(x, (0, 3, 1, 2)))
add("k_permute_list", lambda x: K.permute_dimensions(x, [0, 2, 1]), SEQUENCE)
add("k_permute_pattern", lambda x: K.permute_dimensions(x, pattern=(0, 2, 3, 1)), (3, 4, 5))
add("tf_transpose", lambda x: tf.transpose(x, [0, 2, 1]), SEQUENCE)
add("tf_transpose_perm", lambda x: tf.transpose(x, perm=[0, 3, 1, 2]))
add("tf_transpose_tuple", lambda x: tf.transpose(x, perm=(0, 2, 3, 1)), (3, 4, 5))
add("tf_matrix_transpose", lambda x: tf.linalg.matrix_transpose(x), SEQUENCE)
add("k_reshape", lambda x: K.reshape(x, (-1, 16, 6)))
add("k_reshape_list", lambda x: K.reshape(x, [-1, 2, 3]), VECTOR)
add("k_reshape_shape", lambda x: K.reshape(x, (K.shape(x)[0], 16, 6)))
add("k_reshape_shape_minus", lambda x: K.reshape(x, (K.shape(x)[0], -1)))
add("k_reshape_int_shape", lambda x: K.reshape(x, (-1, K.int_shape(x)[1] * K.int_shape(x)[2], K.int_shape(x)[3])))
add("k_reshape_keyword", lambda x: K.reshape(x, shape=(-1, 4, 24)))
add("tf_reshape", lambda x: tf.reshape(x, [-1, 96]))
add("tf_reshape_shape", lambda x: tf.reshape(x, [tf.shape(x)[0], -1, 6]))
add(
    "tf_reshape_tuple_shape", lambda x: tf.reshape(x, (tf.shape(x)[0], tf.shape(x)[1] * tf.shape(x)[2], tf.shape(x)[3]))
)
add("tf_reshape_static", lambda x: tf.reshape(x, [-1, x.shape[1] * x.shape[2], x.shape[3]]))
add("tf_reshape_get_shape", lambda x: tf.reshape(x, [-1, x.get_shape().as_list()[1], 24]))
add("tf_reshape_as_list_slice", lambda x: tf.reshape(x, [-1] + x.get_shape().as_list()[2:]))
add("tf_reshape_shape_as_list", lambda x: tf.reshape(x, [-1] + x.shape.as_list()[2:]), needs="keras2")
add("tf_reshape_prod", lambda x: tf.reshape(x, [-1, np.prod(x.get_shape().as_list()[1:])]))
add("tf1_reshape_value", lambda x: tf.reshape(x, [-1, x.get_shape()[1].value, 24]), needs="tf1")
add("tf_reshape_like", lambda x: tf.reshape(x * 2, tf.shape(x)))
add("tf_reshape_concat", lambda x: tf.reshape(x, tf.concat([tf.shape(x)[:1], [-1]], axis=0)))
add("k_flatten_all", lambda x: K.flatten(x))
add("k_batch_flatten", lambda x: K.batch_flatten(x))
add("tf_flatten_compat", lambda x: tf.compat.v1.layers.flatten(x), needs="keras2")
add("k_tile", lambda x: K.tile(x, [1, 3]), VECTOR)
add("k_tile_expand", lambda x: K.tile(K.expand_dims(K.expand_dims(x, 1), 1), [1, 2, 3, 1]), VECTOR)
add("k_tile_keyword", lambda x: K.tile(x, n=(1, 1, 2)), SEQUENCE)
add("tf_tile", lambda x: tf.tile(x, [1, 2, 2, 1]))
add("tf_tile_multiples", lambda x: tf.tile(tf.expand_dims(x, 1), multiples=[1, 4, 1]), VECTOR)
add("k_repeat", lambda x: K.repeat(x, 3), VECTOR)
add("k_repeat_elements", lambda x: K.repeat_elements(x, 2, axis=1), SEQUENCE)
add("k_repeat_elements_rep", lambda x: K.repeat_elements(x, rep=3, axis=3))
add("repeat_elements_arguments", lambda x, rep: K.repeat_elements(x, rep, axis=3), arguments={"rep": 2})
add("tf_repeat", lambda x: tf.repeat(x, 2, axis=1), SEQUENCE)
add("tf_repeat_list", lambda x: tf.repeat(x, repeats=[1, 2, 1, 1, 2], axis=1), SEQUENCE)
add("tf_split", lambda x: tf.split(x, 2, axis=3))
add("tf_split_keyword", lambda x: tf.split(x, num_or_size_splits=3, axis=-1))
add("tf_split_sizes", lambda x: tf.split(x, [1, 2, 3], axis=-1))
add("tf_split_item", lambda x: tf.split(x, 2, axis=-1)[1])
add("tf_unstack", lambda x: tf.unstack(x, axis=1), SEQUENCE)
add("tf_unstack_num", lambda x: tf.unstack(x, 5, 1)[-1], SEQUENCE)
add("k_reverse", lambda x: K.reverse(x, axes=1), SEQUENCE)
add("k_reverse_axes", lambda x: K.reverse(x, axes=[1, 2]))
add("tf_reverse", lambda x: tf.reverse(x, axis=[-1]))
add("tf_reverse_positional", lambda x: tf.reverse(x, [1]), SEQUENCE)
add("flip_left_right", lambda x: tf.image.flip_left_right(x))
add("flip_up_down", lambda x: tf.image.flip_up_down(x))
add("rot90", lambda x: tf.image.rot90(x, k=1), needs="tf2")
add("tf_roll", lambda x: tf.roll(x, shift=1, axis=1), SEQUENCE)
add("tf_pad", lambda x: tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]))
add("tf_pad_constant", lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]], "CONSTANT", constant_values=0.5))
add("tf_pad_reflect", lambda x: tf.pad(x, [[0, 0], [1, 1], [2, 2], [0, 0]], mode="REFLECT"))
add("tf_pad_symmetric", lambda x: tf.pad(x, tf.constant([[0, 0], [1, 1], [1, 1], [0, 0]]), "SYMMETRIC"))
add("tf_pad_paddings", lambda x: tf.pad(x, paddings=((0, 0), (0, 2)), mode="CONSTANT"), VECTOR)
add("tf_pad_channels", lambda x: tf.pad(x, [[0, 0], [0, 0], [0, 0], [3, 3]]))
add("k_spatial_padding", lambda x: K.spatial_2d_padding(x, padding=((1, 2), (0, 1))))
add("k_spatial_padding_default", lambda x: K.spatial_2d_padding(x))
add("k_temporal_padding", lambda x: K.temporal_padding(x, padding=(2, 0)), SEQUENCE)
add("k_gather", lambda x: K.gather(x, [0, 2]), note="rows of the batch")
add(
    "k_gather_constant",
    lambda x: K.gather(K.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), K.cast(x, "int32")),
    (4,),
    data="index",
)
add("tf_gather", lambda x: tf.gather(x, [0, 2, 1], axis=1), SEQUENCE)
add("tf_gather_channels", lambda x: tf.gather(x, [2, 1, 0], axis=-1), RGB)
add("tf_gather_indices", lambda x: tf.gather(x, indices=tf.constant([3, 0]), axis=3))
add("tf_gather_int", lambda x: tf.gather(x, 1, axis=1), SEQUENCE)
add("tf_boolean_shape", lambda x: tf.broadcast_to(x[:, None, :], [tf.shape(x)[0], 3, 6]), VECTOR)
add(
    "channel_shuffle",
    lambda x: K.reshape(K.permute_dimensions(K.reshape(x, (-1, 4, 4, 2, 3)), (0, 1, 2, 4, 3)), (-1, 4, 4, 6)),
)
add("global_pool_reshape", lambda x: tf.reshape(tf.reduce_mean(x, [1, 2]), [-1, 1, 1, 6]))
add("k_shape", lambda x: K.shape(x))
add("tf_shape", lambda x: tf.shape(x)[1:3])
add("tf_size_rank", lambda x: x * tf.cast(tf.rank(x), tf.float32))
add("ndim", lambda x: x * K.ndim(x))
add("len_shape", lambda x: x * len(x.shape))
add("ops_stack_concat", lambda x: ops.concatenate([x, ops.stack([x[..., 0], x[..., 1]], axis=-1)], axis=-1))
add("ops_reshape", lambda x: ops.reshape(x, (-1, 16, 6)))
add("ops_reshape_shape", lambda x: ops.reshape(x, (ops.shape(x)[0], -1)))
add("ops_transpose", lambda x: ops.transpose(x, axes=(0, 3, 1, 2)))
add("ops_tile_repeat", lambda x: ops.repeat(ops.tile(x, (1, 2)), 2, axis=1), VECTOR)
add("ops_squeeze_expand", lambda x: ops.squeeze(ops.expand_dims(x, axis=1), axis=1))
add("ops_split", lambda x: ops.split(x, 3, axis=-1))
add("ops_flip_roll", lambda x: ops.roll(ops.flip(x, axis=1), 1, axis=1), SEQUENCE)
add("ops_pad", lambda x: ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect"))
add("ops_take", lambda x: ops.take(x, [2, 0], axis=-1))
add("ops_swapaxes_moveaxis", lambda x: ops.moveaxis(ops.swapaxes(x, 1, 2), -1, 1))
add("ops_unstack", lambda x: ops.unstack(x, axis=1)[2], SEQUENCE)

category("slice")
add("int", lambda x: x[:, 0])
add("int_last", lambda x: x[:, -1, :], SEQUENCE)
add("last_time", lambda x: x[:, -1], SEQUENCE)
add("range", lambda x: x[:, 1:3])
add("to_negative", lambda x: x[:, :-1], SEQUENCE)
add("from_negative", lambda x: x[:, -2:], SEQUENCE)
add("step", lambda x: x[:, ::2])
add("step_both", lambda x: x[:, ::2, ::2, :])
add("step_start", lambda x: x[:, 1::2, 1::2, :])
add("ellipsis", lambda x: x[..., 0])
add("ellipsis_range", lambda x: x[..., :3])
add("ellipsis_keep", lambda x: x[..., 2:3])
add("newaxis_none", lambda x: x[:, None], VECTOR)
add("newaxis_tf", lambda x: x[:, tf.newaxis, tf.newaxis, :], VECTOR)
add("newaxis_np", lambda x: x[:, :, np.newaxis], VECTOR)
add("newaxis_ellipsis", lambda x: x[..., None])
add("several", lambda x: x[:, 1:, :-1, ::2])
add("crop", lambda x: x[:, 1:-1, 1:-1, :])
add("reverse_channels", lambda x: x[..., ::-1], RGB)
add("reverse_channels_full", lambda x: x[:, :, :, ::-1], RGB)
add("reverse_time", lambda x: x[:, ::-1, :], SEQUENCE)
add("channel_group", lambda x: x[:, :, :, 0:3])
add("channel_group_rest", lambda x: x[:, :, :, 3:])
add("channels_first", lambda x: x[:, 1:2, :, :])
add("batch", lambda x: x[0:2])
add("identity", lambda x: x[:])
add("slice_object", lambda x: x[:, slice(1, 3)])
add("tf_slice", lambda x: tf.slice(x, [0, 1, 0, 0], [-1, 2, -1, 3]))
add("tf_strided_slice", lambda x: tf.strided_slice(x, [0, 0], [4, 5], [1, 2]), SEQUENCE, note="batch of 4 at least")
add("k_slice", lambda x: K.slice(x, [0, 1], [-1, 3]), VECTOR)
add("sum_of_slices", lambda x: x[:, :3] * x[:, 3:], VECTOR)
add("list_of_slices", lambda x: [x[:, :2], x[:, 2:]], VECTOR)
add("tuple_of_slices", lambda x: (x[..., :1], x[..., 1:]))
add("yolo_xy", lambda x: K.sigmoid(x[..., :2]) / K.cast(K.shape(x)[1:3], "float32"))
add("focus", lambda x: tf.concat([x[:, ::2, ::2], x[:, 1::2, ::2], x[:, ::2, 1::2], x[:, 1::2, 1::2]], axis=-1))
add("crop_arguments", lambda x, start, end: x[:, start:end], SEQUENCE, arguments={"start": 1, "end": 4})
add("shape_half", lambda x: x[:, : x.shape[1] // 2])
add("int_shape_half", lambda x: x[:, :, :, : K.int_shape(x)[3] // 2])
add("ops_slice", lambda x: ops.slice(x, (0, 1, 1, 0), (4, 2, 2, 6)), note="batch of 4 at least")

category("pass")
add("identity", lambda x: x)
add("identity_named_layer", lambda x: x, note="layer with a dtype", dtype="float32")
add("identity_output_shape", lambda x: x, output_shape=IMAGE)
add("identity_tf", lambda x: tf.identity(x))
add("identity_tf_name", lambda x: tf.identity(x, name="output"))
add("identity_k", lambda x: K.identity(x))
add("stop_gradient_k", lambda x: K.stop_gradient(x))
add("stop_gradient_tf", lambda x: tf.stop_gradient(x))
add("stop_gradient_keyword", lambda x: keras.backend.stop_gradient(x) * 1)
add("ops_stop_gradient", lambda x: ops.stop_gradient(x))
add("check_numerics", lambda x: tf.debugging.check_numerics(x, "not a number"))

category("normalize")
add("k_l2", lambda x: K.l2_normalize(x, axis=1), VECTOR)
add("k_l2_negative", lambda x: K.l2_normalize(x, axis=-1))
add("k_l2_none", lambda x: K.l2_normalize(x))
add("k_l2_positional", lambda x: K.l2_normalize(x, 1), VECTOR)
add("keras_l2", lambda x: keras.backend.l2_normalize(x, axis=-1), VECTOR)
add("tf_nn_l2", lambda x: tf.nn.l2_normalize(x, axis=1), VECTOR)
add("tf_nn_l2_list", lambda x: tf.nn.l2_normalize(x, axis=[1, 2, 3]))
add("tf_math_l2", lambda x: tf.math.l2_normalize(x, axis=-1, epsilon=1e-10), VECTOR)
add("tf1_l2_dim", lambda x: tf.nn.l2_normalize(x, dim=-1), VECTOR, needs="tf1")
add("tf_nn_l2_positional", lambda x: tf.nn.l2_normalize(x, -1), VECTOR)
add("by_norm", lambda x: x / tf.norm(x, axis=-1, keepdims=True), VECTOR)
add("by_sum", lambda x: x / (K.sum(x, axis=-1, keepdims=True) + K.epsilon()), VECTOR, data="positive")
add("by_max", lambda x: x / K.max(K.abs(x), axis=[1, 2, 3], keepdims=True))
add("min_max", lambda x: (x - tf.reduce_min(x)) / (tf.reduce_max(x) - tf.reduce_min(x)))
add("standardise", lambda x: (x - K.mean(x, axis=1, keepdims=True)) / (K.std(x, axis=1, keepdims=True) + 1e-5), VECTOR)
add(
    "instance_norm",
    lambda x: (x - K.mean(x, axis=[1, 2], keepdims=True)) / K.sqrt(K.var(x, axis=[1, 2], keepdims=True) + 1e-3),
)
add("per_image_standardization", lambda x: tf.image.per_image_standardization(x), RGB, data="image")
add("lrn", lambda x: tf.nn.local_response_normalization(x, depth_radius=2))
add("lrn_short", lambda x: tf.nn.lrn(x, 5, 1.0, 1e-4, 0.75))
add(
    "unit_sphere_epsilon",
    lambda x: x * tf.math.rsqrt(tf.maximum(tf.reduce_sum(tf.square(x), -1, keepdims=True), 1e-12)),
    VECTOR,
)
add("ops_normalize", lambda x: ops.normalize(x, axis=-1), VECTOR)
add("ops_l2", lambda x: x / ops.sqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + 1e-6), VECTOR)

MATRICES = [(3, 4), (4, 5)]
VECTORS = [VECTOR, VECTOR]
SEQUENCES = [SEQUENCE, SEQUENCE]
category("matmul")
add(
    "k_dot_constant",
    lambda x: K.dot(x, K.constant([[1.0, 2.0], [0.5, -1.0], [0.0, 3.0], [1.0, 1.0], [2.0, 0.0], [0.0, 1.0]])),
    VECTOR,
)
add("k_dot_transpose", lambda x: K.dot(x, K.transpose(x)), VECTOR)
add("k_batch_dot", lambda x: K.batch_dot(x[0], x[1]), MATRICES)
add("k_batch_dot_axes", lambda x: K.batch_dot(x[0], x[1], axes=[2, 1]), MATRICES)
add("k_batch_dot_axes_2", lambda x: K.batch_dot(x[0], x[1], axes=[2, 2]), SEQUENCES)
add("k_batch_dot_int", lambda x: K.batch_dot(x[0], x[1], axes=1), VECTORS)
add("k_batch_dot_permute", lambda x: K.batch_dot(x, K.permute_dimensions(x, (0, 2, 1))), SEQUENCE)
add("k_batch_dot_11", lambda x: K.batch_dot(x[0], x[1], axes=(1, 1)), [(5,), (5, 6)])
add("tf_matmul", lambda x: tf.matmul(x[0], x[1]), MATRICES)
add("tf_matmul_transpose", lambda x: tf.matmul(x[0], x[1], transpose_b=True), SEQUENCES)
add("tf_matmul_transpose_a", lambda x: tf.matmul(x, x, transpose_a=True), SEQUENCE)
add("tf_linalg_matmul", lambda x: tf.linalg.matmul(x, tf.ones((6, 2))), needs="tf2", shape=SEQUENCE)
add("matmul_operator", lambda x: x[0].__matmul__(x[1]), MATRICES)
add("gram", lambda x: tf.matmul(tf.reshape(x, [-1, 16, 6]), tf.reshape(x, [-1, 16, 6]), transpose_a=True) / 16.0)
add("tf_einsum", lambda x: tf.einsum("bij,bjk->bik", x[0], x[1]), MATRICES)
add("tf_einsum_hadamard", lambda x: tf.einsum("bi,bi->b", x[0], x[1]), VECTORS)
add("tf_einsum_ellipsis", lambda x: tf.einsum("bhwc,bhwd->bcd", x, x))
add(
    "tf_tensordot", lambda x: tf.tensordot(x, tf.constant([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]]), axes=1), SEQUENCE
)
add("tf_tensordot_lists", lambda x: tf.tensordot(x, tf.eye(6) * 2.0, axes=[[2], [0]]), SEQUENCE)
add("luma_tensordot", lambda x: tf.tensordot(x, [0.299, 0.587, 0.114], axes=[[3], [0]]), RGB)
add("outer", lambda x: tf.expand_dims(x[0], 2) * tf.expand_dims(x[1], 1), VECTORS)
add("bilinear_einsum", lambda x: tf.einsum("ijkm,ijkn->imn", x[0], x[1]), [IMAGE, IMAGE])
add("ops_matmul", lambda x: ops.matmul(x[0], x[1]), MATRICES)
add("ops_einsum", lambda x: ops.einsum("bij,bkj->bik", x[0], x[1]), SEQUENCES)
add("ops_tensordot_dot", lambda x: ops.tensordot(x, ops.ones((6, 2)), axes=1) + ops.dot(x, ops.ones((6, 2))), SEQUENCE)

category("inputs")
add("add", lambda x: x[0] + x[1], VECTORS)
add("subtract", lambda x: x[0] - x[1], VECTORS)
add("multiply", lambda x: x[0] * x[1], [IMAGE, (1, 1, 6)])
add("divide", lambda x: x[0] / (1.0 + K.abs(x[1])), VECTORS)
add("abs_difference", lambda tensors: K.abs(tensors[0] - tensors[1]), VECTORS)
add("tf_abs_difference", lambda a: tf.abs(a[0] - a[1]), VECTORS)
add("squared_difference", lambda x: K.square(x[0] - x[1]), VECTORS)
add("euclidean", lambda v: K.sqrt(K.sum(K.square(v[0] - v[1]), axis=1, keepdims=True)), VECTORS)
add(
    "euclidean_epsilon",
    lambda v: K.sqrt(K.maximum(K.sum(K.square(v[0] - v[1]), axis=1, keepdims=True), K.epsilon())),
    VECTORS,
)
add("manhattan", lambda x: K.exp(-K.sum(K.abs(x[0] - x[1]), axis=1, keepdims=True)), VECTORS)
add(
    "manhattan_shape",
    lambda x: K.exp(-K.sum(K.abs(x[0] - x[1]), axis=1, keepdims=True)),
    VECTORS,
    output_shape=lambda x: (x[0][0], 1),
)
add(
    "cosine",
    lambda x: K.sum(K.l2_normalize(x[0], axis=-1) * K.l2_normalize(x[1], axis=-1), axis=-1, keepdims=True),
    VECTORS,
)
add(
    "cosine_tf",
    lambda x: tf.reduce_sum(tf.multiply(tf.nn.l2_normalize(x[0], 1), tf.nn.l2_normalize(x[1], 1)), 1),
    VECTORS,
)
add("concat", lambda x: K.concatenate([x[0], x[1]], axis=-1), VECTORS)
add("concat_list", lambda x: K.concatenate(x, axis=3), [IMAGE, RGB])
add("concat_tf", lambda x: tf.concat(x, axis=-1), VECTORS)
add("stack", lambda x: K.stack(x, axis=1), VECTORS)
add("stack_three", lambda x: tf.stack([x[0], x[1], x[2]], axis=-1), VECTORS + [VECTOR])
add("mean_of_list", lambda x: K.mean(K.stack(x, axis=0), axis=0), VECTORS + [VECTOR])
add(
    "residual_scale",
    lambda inputs, scale: inputs[0] + inputs[1] * scale,
    [IMAGE, IMAGE],
    arguments={"scale": 0.17},
    output_shape=IMAGE,
)
add("mix", lambda x: 0.7 * x[0] + 0.3 * x[1], VECTORS)
add("gate", lambda x: x[0] * K.sigmoid(x[1]) + (1 - K.sigmoid(x[1])) * x[2], VECTORS + [VECTOR])
add("attention_weighted_sum", lambda x: K.sum(x[0] * K.expand_dims(x[1], -1), axis=1), [SEQUENCE, (5,)])
add(
    "attention_softmax", lambda x: K.batch_dot(K.softmax(K.batch_dot(x[0], x[1], axes=[2, 2]) / 2.449), x[1]), SEQUENCES
)
add(
    "attention_tf",
    lambda x: tf.matmul(tf.nn.softmax(tf.matmul(x[0], x[1], transpose_b=True) / math.sqrt(6)), x[2]),
    SEQUENCES + [SEQUENCE],
)
add("spatial_broadcast", lambda x: x[0] * tf.expand_dims(tf.expand_dims(x[1], 1), 1), [IMAGE, VECTOR])
add("second_only", lambda x: x[1], [VECTOR, SEQUENCE])
add("swap", lambda x: [x[1], x[0]], [VECTOR, SEQUENCE])
add("resize_like", lambda x: tf.image.resize(x[0], tf.shape(x[1])[1:3]), [(4, 4, 3), (7, 5, 2)], needs="tf2")
add(
    "resize_like_static",
    lambda x: tf.image.resize(x[0], x[1].shape[1:3], method="nearest"),
    [(4, 4, 3), (8, 8, 2)],
    needs="tf2",
)
add(
    "resize_like_k",
    lambda x: tf.image.resize_bilinear(x[0], K.int_shape(x[1])[1:3]),
    [(4, 4, 3), (7, 5, 2)],
    needs="tf1",
)
add("maximum", lambda x: K.maximum(x[0], x[1]), VECTORS)
add("where", lambda x: tf.where(x[0] > x[1], x[0], x[1] * 0.5), VECTORS)
add("dot", lambda x: K.sum(x[0] * x[1], axis=-1, keepdims=True), VECTORS)
add("vae_without_noise", lambda z: z[0] + K.exp(0.5 * z[1]) * 0.0, VECTORS)
add("film", lambda x: x[0] * (1 + x[1][:, None, None, :]) + x[2][:, None, None, :], [IMAGE, VECTOR, VECTOR])
add(
    "triplet",
    lambda x: K.concatenate([K.sum(K.square(x[0] - x[1]), -1, True), K.sum(K.square(x[0] - x[2]), -1, True)]),
    VECTORS + [VECTOR],
)
add(
    "dueling",
    lambda a: K.expand_dims(a[:, 0], -1) + a[:, 1:] - K.mean(a[:, 1:], axis=1, keepdims=True),
    (5,),
    output_shape=(4,),
)
add(
    "dueling_keepdims",
    lambda a: K.expand_dims(a[:, 0], -1) + a[:, 1:] - K.mean(a[:, 1:], keepdims=True),
    (5,),
    output_shape=(4,),
    note="keras-rl: the mean is over the batch too",
)
add("ops_distance", lambda x: ops.sqrt(ops.sum(ops.square(x[0] - x[1]), axis=1, keepdims=True)), VECTORS)

category("resize")
add("tf2_bilinear", lambda x: tf.image.resize(x, (8, 8)), needs="tf2")
add("tf2_bilinear_down", lambda x: tf.image.resize(x, [3, 2]), needs="tf2")
add("tf2_non_integer", lambda x: tf.image.resize(x, size=(7, 9), method="bilinear"), BIG, needs="tf2")
add("tf2_nearest", lambda x: tf.image.resize(x, [9, 7], method="nearest"), BIG, needs="tf2")
add(
    "tf2_nearest_down",
    lambda x: tf.image.resize(x, [4, 3], method=tf.image.ResizeMethod.NEAREST_NEIGHBOR),
    BIG,
    needs="tf2",
)
add("tf2_bicubic", lambda x: tf.image.resize(x, (9, 10), method="bicubic"), BIG, needs="tf2")
add("tf2_bicubic_down", lambda x: tf.image.resize(x, (4, 3), method="bicubic"), BIG, needs="tf2")
add("tf2_lanczos", lambda x: tf.image.resize(x, (9, 10), method="lanczos3"), BIG, needs="tf2")
add("tf2_area", lambda x: tf.image.resize(x, (3, 5), method="area"), BIG, needs="tf2")
add("tf2_antialias", lambda x: tf.image.resize(x, (3, 3), antialias=True), BIG, needs="tf2")
add("tf2_method_constant", lambda x: tf.image.resize(x, (8, 8), tf.image.ResizeMethod.BILINEAR), needs="tf2")
add("tf2_shape_times_2", lambda x: tf.image.resize(x, (tf.shape(x)[1] * 2, tf.shape(x)[2] * 2)), needs="tf2")
add("tf2_static_times_2", lambda x: tf.image.resize(x, (x.shape[1] * 2, x.shape[2] * 2)), needs="tf2")
add("tf2_pad", lambda x: tf.image.resize_with_pad(x, 8, 8), BIG, needs="tf2")
add("tf2_crop_or_pad", lambda x: tf.image.resize_with_crop_or_pad(x, 4, 8), BIG, needs="tf2")
add("tf_central_crop", lambda x: tf.image.central_crop(x, 0.5))
add("tf_crop_box", lambda x: tf.image.crop_to_bounding_box(x, 1, 1, 2, 3))
add("compat_bilinear", lambda x: tf.compat.v1.image.resize_bilinear(x, (8, 10)), BIG)
add("compat_align_corners", lambda x: tf.compat.v1.image.resize_bilinear(x, [9, 7], align_corners=True), BIG)
add("compat_half_pixel", lambda x: tf.compat.v1.image.resize_bilinear(x, [9, 7], half_pixel_centers=True), BIG)
add("compat_down", lambda x: tf.compat.v1.image.resize_bilinear(x, [4, 3]), BIG)
add("compat_nearest", lambda x: tf.compat.v1.image.resize_nearest_neighbor(x, [9, 7]), BIG)
add("compat_nearest_align", lambda x: tf.compat.v1.image.resize_nearest_neighbor(x, [9, 7], align_corners=True), BIG)
add("compat_bicubic", lambda x: tf.compat.v1.image.resize_bicubic(x, [9, 7]), BIG)
add("compat_images", lambda x: tf.compat.v1.image.resize_images(x, [8, 8]))
add("compat_images_align", lambda x: tf.compat.v1.image.resize(x, [8, 8], align_corners=True))
add("tf1_images", lambda x: tf.image.resize_images(x, (8, 8)), needs="tf1")
add("tf1_images_non_integer", lambda x: tf.image.resize_images(x, [9, 7]), BIG, needs="tf1")
add("tf1_images_align", lambda x: tf.image.resize_images(x, (8, 8), align_corners=True), needs="tf1")
add("tf1_images_method", lambda x: tf.image.resize_images(x, (9, 7), method=1), BIG, needs="tf1")
add("tf1_images_area", lambda x: tf.image.resize_images(x, (3, 5), tf.image.ResizeMethod.AREA), BIG, needs="tf1")
add("tf1_bilinear", lambda x: tf.image.resize_bilinear(x, (8, 8)), needs="tf1")
add("tf1_bilinear_align", lambda x: tf.image.resize_bilinear(x, size=[9, 7], align_corners=True), BIG, needs="tf1")
add("tf1_bilinear_down", lambda x: tf.image.resize_bilinear(x, [4, 3]), BIG, needs="tf1")
add("tf1_nearest", lambda x: tf.image.resize_nearest_neighbor(x, (9, 7)), BIG, needs="tf1")
add("tf1_nearest_down", lambda x: tf.image.resize_nearest_neighbor(x, (4, 3)), BIG, needs="tf1")
add("tf1_nearest_align", lambda x: tf.image.resize_nearest_neighbor(x, (9, 7), align_corners=True), BIG, needs="tf1")
add("tf1_bicubic", lambda x: tf.image.resize_bicubic(x, (9, 7)), BIG, needs="tf1")
add("tf1_area", lambda x: tf.image.resize_area(x, (3, 5)), BIG, needs="tf1")
add(
    "tf1_resize",
    lambda x: tf.image.resize(x, (8, 8)),
    needs="tf1",
    note="tf.image.resize of TF 1: no half-pixel centres",
)
add("tf_backend_resize", lambda x: tf.keras.backend.resize_images(x, 2, 2, "channels_last"))
add("k_resize_images", lambda x: K.resize_images(x, 2, 2, "channels_last"))
add(
    "k_resize_images_keywords",
    lambda x: K.resize_images(x, height_factor=2, width_factor=3, data_format="channels_last"),
)
add("k_resize_images_bilinear", lambda x: K.resize_images(x, 2, 2, "channels_last", interpolation="bilinear"))
add("k_resize_channels_first", lambda x: K.resize_images(x, 2, 2, "channels_first"))
add("k_resize_volumes", lambda x: K.resize_volumes(x, 2, 1, 2, "channels_last"), (2, 3, 2, 2))
add("ops_image_resize", lambda x: ops.image.resize(x, (8, 8)))
add("ops_image_resize_nearest", lambda x: ops.image.resize(x, (9, 7), interpolation="nearest"), BIG)
add("ops_image_resize_bicubic", lambda x: ops.image.resize(x, (9, 7), interpolation="bicubic"), BIG)

category("image")
add("rgb_to_grayscale", lambda x: tf.image.rgb_to_grayscale(x), RGB, data="unit")
add("grayscale_to_rgb", lambda x: tf.image.grayscale_to_rgb(x), (4, 4, 1))
add("gray_by_hand", lambda x: 0.299 * x[..., 0:1] + 0.587 * x[..., 1:2] + 0.114 * x[..., 2:3], RGB, data="image")
add("repeat_channels", lambda x: K.repeat_elements(x, 3, axis=-1), (4, 4, 1))
add("repeat_channels_concat", lambda x: K.concatenate([x, x, x], axis=-1), (4, 4, 1))
add("repeat_channels_tile", lambda x: tf.tile(x, [1, 1, 1, 3]), (4, 4, 1))
add("rgb_to_yuv", lambda x: tf.image.rgb_to_yuv(x), RGB, data="unit")
add("rgb_to_hsv", lambda x: tf.image.rgb_to_hsv(x), RGB, data="unit")
add("adjust_brightness", lambda x: tf.image.adjust_brightness(x, 0.1), RGB, data="unit")
add("adjust_contrast", lambda x: tf.image.adjust_contrast(x, 1.5), RGB, data="unit")
add("depth_to_space_nn", lambda x: tf.nn.depth_to_space(x, 2), (4, 4, 8))
add("depth_to_space_keyword", lambda x: tf.nn.depth_to_space(x, block_size=2), (4, 4, 12))
add("tf1_depth_to_space", lambda x: tf.depth_to_space(x, 2), (4, 4, 8), needs="tf1")
add("depth_to_space_arguments", lambda x, scale: tf.nn.depth_to_space(x, scale), (2, 2, 9), arguments={"scale": 3})
add("space_to_depth_nn", lambda x: tf.nn.space_to_depth(x, 2))
add("space_to_depth_3", lambda x: tf.nn.space_to_depth(x, block_size=3), (6, 3, 2))
add("tf1_space_to_depth", lambda x: tf.space_to_depth(x, block_size=2), needs="tf1")
add("space_to_depth_shape", lambda x: tf.nn.space_to_depth(x, block_size=2), output_shape=(2, 2, 24))
add("sobel", lambda x: tf.image.sobel_edges(x), RGB)
add("extract_patches", lambda x: tf.image.extract_patches(x, [1, 2, 2, 1], [1, 2, 2, 1], [1, 1, 1, 1], "VALID"))
add("max_pool_tf", lambda x: tf.nn.max_pool2d(x, 2, 2, "SAME"))
add("avg_pool_k", lambda x: K.pool2d(x, (2, 2), strides=(2, 2), padding="valid", pool_mode="avg"))
add("max_pool_k", lambda x: K.pool2d(x, pool_size=(2, 2), strides=(1, 1), padding="same"))
add("total_variation", lambda x: tf.image.total_variation(x))
add("conv_constant_kernel", lambda x: K.conv2d(x, K.ones((3, 3, 6, 1)) / 9.0, padding="same"))
add("preprocess_input", lambda x: keras.applications.mobilenet_v2.preprocess_input(x), RGB, data="image")
add("preprocess_input_vgg", lambda x: tf.keras.applications.vgg16.preprocess_input(x), RGB, data="image")
add("ops_gray_s2d", lambda x: ops.image.rgb_to_grayscale(x), RGB, data="unit")

category("constant")
add("k_constant", lambda x: x * K.constant([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
add("k_constant_scalar", lambda x: x + K.constant(0.5, dtype="float32"))
add("k_constant_shape", lambda x: x + K.constant(2.0, shape=(4, 4, 1)))
add("tf_constant", lambda x: x * tf.constant([[0.5, 1.0, 2.0, -1.0, 0.0, 3.0]]), VECTOR)
add("tf_constant_dtype", lambda x: x - tf.constant([1, 2, 3, 4, 5, 6], dtype=tf.float32), VECTOR)
add(
    "tf_constant_array",
    lambda x: tf.matmul(
        x,
        tf.constant(
            np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 0.0], [0.0, 2.0], [1.0, -1.0]], dtype="float32")
        ),
    ),
    VECTOR,
)
add("zeros_like", lambda x: K.zeros_like(x))
add("ones_like", lambda x: K.ones_like(x) * 0.5 + x)
add("zeros_like_concat", lambda x: K.concatenate([x, K.zeros_like(x[..., :2])], axis=-1))
add("tf_ones_like", lambda x: tf.ones_like(x) - x)
add("tf_zeros", lambda x: x + tf.zeros((4, 4, 6)))
add("k_ones", lambda x: x * K.ones((4, 4, 6)))
add("k_zeros_shape", lambda x: tf.concat([x, tf.zeros([tf.shape(x)[0], 2])], axis=1), VECTOR)
add("tf_fill", lambda x: x + tf.fill([4, 4, 6], 0.25))
add("tf_fill_shape", lambda x: tf.fill(tf.shape(x), 3.0) * x)
add("tf_range", lambda x: x * tf.cast(tf.range(6), tf.float32), VECTOR)
add("tf_range_step", lambda x: x + tf.range(0.0, 3.0, 0.5), VECTOR)
add("k_arange", lambda x: x * K.cast(K.arange(0, 6), "float32"), VECTOR)
add("k_arange_float", lambda x: K.sum(K.softmax(x) * K.arange(0, 6, dtype="float32"), axis=-1), VECTOR)
add("tf_linspace", lambda x: x * tf.linspace(-1.0, 1.0, 6), VECTOR)
add("tf_eye", lambda x: x + tf.eye(6)[0], VECTOR)
add("k_eye", lambda x: x + K.eye(4), (4, 4))
add("tf_one_hot_row", lambda x: x * tf.one_hot(2, 6), VECTOR)
add("np_array_operand", lambda x: x * np.array([0.5, 0.25, 0.125, 1.0, 2.0, 4.0]), VECTOR)
add("np_array_left", lambda x: np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], dtype="float32") - x, VECTOR, note="tf decides")
add("np_ones", lambda x: x + np.ones((1, 6), dtype=np.float32), VECTOR)
add("np_arange", lambda x: x * np.arange(6), VECTOR)
add("np_linspace", lambda x: x + np.linspace(0, 1, 6).astype("float32"), VECTOR)
add("np_float32", lambda x: x * np.float32(0.3))
add("np_pi", lambda x: x * np.pi / 180)
add("np_sqrt", lambda x: x / np.sqrt(6.0))
add("np_log_exp", lambda x: x * np.log(2.0) + np.exp(-1.0))
add("np_random_like", lambda x: x * np.eye(6, dtype="float32")[3], VECTOR)
add("epsilon", lambda x: x + K.epsilon())
add("floatx", lambda x: K.cast(x > 0, K.floatx()))
add(
    "k_variable_constant",
    lambda x: x * K.variable([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
    VECTOR,
    kind="unknowable",
    note="a variable made inside",
)
add(
    "ops_constants",
    lambda x: x * ops.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) + ops.ones_like(x) + ops.zeros((6,)),
    VECTOR,
)
add(
    "ops_arange_full",
    lambda x: x * ops.arange(6, dtype="float32") + ops.full((6,), 0.5) + ops.linspace(0.0, 1.0, 6),
    VECTOR,
)
add("ops_convert", lambda x: x - ops.convert_to_tensor([103.939, 116.779, 123.68]), RGB, data="image")

category("index")
add("argmax_k", lambda x: K.argmax(x, axis=-1))
add("argmax_k_default", lambda x: K.argmax(x), VECTOR)
add("argmin_k", lambda x: K.argmin(x, axis=1), VECTOR)
add("argmax_tf", lambda x: tf.argmax(x, axis=3))
add("argmax_tf_positional", lambda x: tf.argmax(x, 1), VECTOR)
add("argmax_tf_type", lambda x: tf.argmax(x, axis=-1, output_type=tf.int32))
add("argmax_tf_math", lambda x: tf.cast(tf.math.argmax(x, axis=-1), tf.float32), VECTOR)
add("tf1_argmax_dimension", lambda x: tf.argmax(x, dimension=1), VECTOR, needs="tf1")
add("one_hot_k", lambda x: K.one_hot(K.cast(x, "int32"), 4), (5,), data="index")
add("one_hot_tf", lambda x: tf.one_hot(tf.cast(x, tf.int32), depth=4), (5,), data="index")
add("one_hot_uint8", lambda x: tf.one_hot(x, 4), (5,), data="index", dtype="uint8")
add(
    "one_hot_classes",
    lambda x, num_classes: K.one_hot(K.cast(x, "uint8"), num_classes=num_classes),
    (5,),
    data="index",
    arguments={"num_classes": 5},
    output_shape=(5, 5),
)
add("one_hot_values", lambda x: tf.one_hot(tf.argmax(x, -1), 6, on_value=1.0, off_value=-1.0), VECTOR)
add("hard_max", lambda x: K.one_hot(K.argmax(x, axis=-1), 6), VECTOR)
add("top_k_values", lambda x: tf.nn.top_k(x, k=3)[0], VECTOR)
add("top_k_attribute", lambda x: tf.nn.top_k(x, k=2).values, SEQUENCE)
add("top_k_indices", lambda x: tf.nn.top_k(x, k=2, sorted=True).indices, VECTOR)
add("top_k_math", lambda x: tf.math.top_k(x, 3).values, VECTOR)
add("k_max_pooling", lambda x: tf.nn.top_k(tf.transpose(x, [0, 2, 1]), k=2, sorted=True)[0], SEQUENCE)
add("sort", lambda x: tf.sort(x, axis=-1, direction="DESCENDING"), VECTOR)
add("argsort", lambda x: tf.argsort(x, axis=-1), VECTOR)
add("in_top", lambda x: K.cast(K.equal(K.argmax(x, -1), 2), "int32"), VECTOR)
add("sequence_mask", lambda x: tf.sequence_mask(tf.cast(x[:, 0], tf.int32), 5), (1,), data="index")
add("band_part", lambda x: tf.linalg.band_part(x, -1, 0), (4, 4))
add("ops_argmax", lambda x: ops.argmax(x, axis=-1), VECTOR)
add("ops_one_hot", lambda x: ops.one_hot(ops.cast(x, "int32"), 4), (5,), data="index")
add("ops_top_k", lambda x: ops.top_k(x, 3)[0], VECTOR)
add("ops_sort", lambda x: ops.sort(x, axis=-1), VECTOR)

SCALE, NAME, SIZES, MEAN = 0.25, "float32", [2, 4], np.array([1.0, 2.0, 3.0], dtype="float32")


def closed(value):
    return lambda x: x * value


def closed_two(low, high):
    def clip(x):
        return K.clip(x, low, high)

    return clip


def crop(dimension, start, end):
    """The popular answer to 'how do I slice in Keras': a layer made by a function of a function."""

    def func(x):
        if dimension == 0:
            return x[start:end]
        if dimension == 1:
            return x[:, start:end]
        if dimension == 2:
            return x[:, :, start:end]
        if dimension == 3:
            return x[:, :, :, start:end]
        return None

    return func


def keep_list(axes):
    return lambda x: K.mean(x, axis=axes, keepdims=True)


def keep_dict(options):
    return lambda x: K.relu(x, alpha=options["alpha"], max_value=options["max"])


def slices_in_loop():
    return [lambda x, i=i: x[:, i : i + 1] for i in range(3)]


def late_slices():
    return [lambda x: x[:, i : i + 1] for i in range(3)]


category("closure")
add("number", closed(0.125))
add("number_int", closed(3))
add("two", closed_two(-0.5, 1.5))
add("crop_1", crop(1, 1, 3), kind="flow")
add("crop_3", crop(3, 0, 2), kind="flow")
add("list", keep_list([1, 2]))
add("tuple", keep_list((1, 2)))
add("string", (lambda how: lambda x: K.cast(x, how))("int32"))
add("string_in_call", (lambda method: lambda x: tf.image.resize(x, (8, 8), method=method))("nearest"), needs="tf2")
add("dict", keep_dict({"alpha": 0.1, "max": 2.0}))
add(
    "array",
    closed(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], dtype="float32")),
    note="a NumPy array in a closure, as JSON a list or refused",
)
add("numpy_scalar", closed(np.float32(1.5)))
add("numpy_int", keep_list(np.int64(1)))
add("none", keep_list(None))
add("boolean", (lambda keep: lambda x: K.max(x, axis=1, keepdims=keep))(True))
add("loop_default_0", slices_in_loop()[0], VECTOR)
add("loop_default_2", slices_in_loop()[2], VECTOR)
add("loop_late", late_slices()[0], VECTOR, note="late binding: the last index")
add("default_number", lambda x, scale=0.5: x * scale)
add("default_tuple", lambda x, size=(8, 8): tf.image.resize(x, size), needs="tf2")
add("default_two", lambda x, low=-1.0, high=1.0: K.clip(x, low, high))
add("default_list", lambda x, axis=[1, 2]: K.mean(x, axis=axis))
add("default_none", lambda x, mask=None: K.sum(x, axis=1), SEQUENCE)
add("default_string", lambda x, dtype="float32": K.cast(x > 0, dtype))
add("arguments_number", lambda x, factor: x * factor, arguments={"factor": 2.5})
add("arguments_two", lambda x, a, b: a * x + b, arguments={"a": 2, "b": -1.0})
add("arguments_over_default", lambda x, alpha=0.5: x * alpha, arguments={"alpha": 4.0})
add("arguments_list", lambda x, axis: K.sum(x, axis=axis), arguments={"axis": [1, 2]})
add("arguments_tuple", lambda x, shape: K.reshape(x, shape), arguments={"shape": (-1, 24, 4)})
add(
    "arguments_string",
    lambda x, dtype: K.cast(x, dtype),
    arguments={"dtype": "float16"},
    note="`dtype` is also a key of the layer",
)
add(
    "arguments_none_bool",
    lambda x, axis, keep: K.max(x, axis=axis, keepdims=keep),
    arguments={"axis": 1, "keep": False},
)
add("arguments_array", lambda x, mean: x - mean, RGB, arguments={"mean": np.array([1.0, 2.0, 3.0], dtype="float32")})
add("arguments_numpy_scalar", lambda x, s: x * s, arguments={"s": np.float32(0.75)})
add("arguments_numpy_int", lambda x, n: x[:, :n], SEQUENCE, arguments={"n": np.int64(2)})
add("arguments_dict", lambda x, p: x * p["scale"], arguments={"p": {"scale": 1.5}})
add("keyword_arguments", lambda x, **kwargs: x * kwargs["scale"], kind="flow", arguments={"scale": 3.0})
add("star_arguments", lambda *xs: xs[0] * 2.0, kind="flow")
add("mask_none", lambda x, mask=None: x * 2, SEQUENCE)
add("mask_function", lambda x: x + 1, SEQUENCE, mask=None)
add("output_shape_none_batch", lambda x: K.sum(x, axis=-1, keepdims=True), output_shape=(4, 4, 1))
add(
    "output_shape_closure",
    lambda x: K.repeat_elements(x, 2, 1),
    SEQUENCE,
    output_shape=lambda s: (s[0], s[1] * 2 if s[1] else None, s[2]),
)
add("trainable_false", lambda x: x * 0.5, trainable=False)


def norm_def(x):
    return (x - K.mean(x, axis=-1, keepdims=True)) / (K.std(x, axis=-1, keepdims=True) + 1e-6)


def euclidean_distance(vects):
    x, y = vects
    sum_square = K.sum(K.square(x - y), axis=1, keepdims=True)
    return K.sqrt(K.maximum(sum_square, K.epsilon()))


def eucl_dist_output_shape(shapes):
    shape1, shape2 = shapes
    return (shape1[0], 1)


def channel_attention_pool(x):
    avg = tf.reduce_mean(x, axis=[1, 2], keepdims=True)
    peak = tf.reduce_max(x, axis=[1, 2], keepdims=True)
    return tf.concat([avg, peak], axis=-1)


def squash(vectors, axis=-1):
    s_squared_norm = K.sum(K.square(vectors), axis, keepdims=True)
    scale = s_squared_norm / (1 + s_squared_norm) / K.sqrt(s_squared_norm + K.epsilon())
    return scale * vectors


def augmented(x):
    total = x
    total += 1.0
    total *= 0.5
    total -= x
    total /= 2.0
    return total


def pixel_shuffle(x):
    b, h, w, c = K.int_shape(x)
    x = K.reshape(x, (-1, h, w, 2, 2, c // 4))
    x = K.permute_dimensions(x, (0, 1, 3, 2, 4, 5))
    return K.reshape(x, (-1, h * 2, w * 2, c // 4))


def channel_shuffle(x, groups):
    height, width, in_channels = x.shape.as_list()[1:]
    channels_per_group = in_channels // groups
    x = K.reshape(x, [-1, height, width, groups, channels_per_group])
    x = K.permute_dimensions(x, (0, 1, 2, 4, 3))
    return K.reshape(x, [-1, height, width, in_channels])


def docstring(x):
    """Scale to -1..1."""
    return (x - 127.5) / 127.5


def unpacked(tensors):
    (first, second), factor = tensors, 2.0
    return factor * first - second


def annotated(x, scale=2.0):
    y = x * scale
    z = y if scale == 2.0 else x
    return z


category("def")
add("normalise", norm_def)
add("euclidean", euclidean_distance, VECTORS)
add("euclidean_shape", euclidean_distance, VECTORS, output_shape=eucl_dist_output_shape)
add("channel_pool", channel_attention_pool)
add("squash", squash, SEQUENCE)
add("squash_arguments", squash, SEQUENCE, arguments={"axis": 1})
add("augmented", augmented)
add("pixel_shuffle", pixel_shuffle, (2, 3, 8))
add("channel_shuffle", channel_shuffle, arguments={"groups": 2}, needs="keras2")
add("docstring", docstring, RGB, data="image")
add("unpacked", unpacked, VECTORS)
add("constant_condition", annotated, kind="flow")


def split_heads(x):
    outs = []
    for i in range(3):
        outs.append(x[:, :, i * 2 : (i + 1) * 2])
    return K.concatenate(outs, axis=1)


def by_format(x):
    if K.image_data_format() == "channels_first":
        return K.mean(x, axis=1, keepdims=True)
    return K.mean(x, axis=3, keepdims=True)


def by_rank(x):
    if K.ndim(x) == 3:
        return K.sum(x, axis=1)
    else:
        return K.sum(x, axis=[1, 2])


def reshape_loop(x):
    shape = K.int_shape(x)
    size = 1
    for n in shape[1:]:
        size *= n
    return K.reshape(x, (-1, size))


def while_loop(x):
    n = 0
    while n < 3:
        x = x * 0.5 + 1
        n += 1
    return x


def pyramid(x):
    result = [x]
    for size in (2, 1):
        result.append(K.pool2d(result[-1], (2, 2), strides=(2, 2), pool_mode="avg"))
    return result


def early_return(x, mode="avg"):
    if mode == "avg":
        return K.mean(x, axis=[1, 2])
    elif mode == "max":
        return K.max(x, axis=[1, 2])
    raise ValueError("mode: " + mode)


def inner_function(x):
    def scale(y, by):
        return y * by

    return scale(x, 2.0) + scale(x, 0.5)


def try_except(x):
    try:
        return tf.no_such_function(x)
    except AttributeError:
        return tf.nn.relu(x)


def assertion(x):
    assert K.ndim(x) == 4, "an image"
    return x * 2


category("flow")
add("constant_true", lambda x: x * 2 if True else x, kind="flow")
add("ternary_constant", lambda x, flag=False: x * 2 if flag else x * 3, kind="flow")
add(
    "data_format",
    lambda x: K.mean(x, axis=3 if K.image_data_format() == "channels_last" else 1, keepdims=True),
    kind="flow",
)
add("data_format_def", by_format, kind="flow")
add("int_shape_condition", lambda x: x if K.int_shape(x)[-1] == 3 else x[..., :3], kind="flow")
add("shape_or", lambda x: x * (K.int_shape(x)[1] or 1), kind="flow")
add("shape_condition_chain", lambda x: x * 2 if 1 < K.int_shape(x)[1] < 10 else x, kind="flow")
add("rank_def", by_rank, kind="flow")
add("split_heads", split_heads, SEQUENCE, kind="flow")
add("comprehension", lambda x: K.concatenate([x[:, i : i + 2] for i in range(3)], axis=1), SEQUENCE, kind="flow")
add("comprehension_list_out", lambda x: [x[:, i] for i in range(5)], SEQUENCE, kind="flow")
add("comprehension_scale", lambda x: K.stack([x * s for s in (0.5, 1.0, 2.0)], axis=1), VECTOR, kind="flow")
add("comprehension_condition", lambda x: sum([x[:, i] for i in range(6) if i % 2 == 0]), VECTOR, kind="flow")
add("comprehension_shape", lambda x: tf.reshape(x, [-1] + [d * 1 for d in x.get_shape().as_list()[1:]]), kind="flow")
add("generator_sum", lambda x: sum(t * 0.5 for t in x), VECTORS, kind="flow")
add("sum_list", lambda x: sum([x, x, x]), kind="flow")
add("sum_slices", lambda x: sum(x), VECTORS, kind="flow")
add("zip", lambda x: K.concatenate([a * w for a, w in zip(x, [0.25, 0.75])], axis=-1), VECTORS, kind="flow")
add("enumerate", lambda x: K.concatenate([a * (i + 1) for i, a in enumerate(x)], axis=-1), VECTORS, kind="flow")
add("map_function", lambda x: tf.concat(list(map(lambda t: t * 2, x)), axis=-1), VECTORS, kind="flow")
add("len_of_list", lambda x: K.concatenate(x, axis=-1) / len(x), VECTORS)
add("int_float", lambda x: x * int(2.7) + float(3))
add("max_of_ints", lambda x: x * max(1, 2, 3) + min(4, 5))
add("round_abs", lambda x: x * round(2.4) + abs(-3))
add("tuple_list", lambda x: K.reshape(x, tuple([-1, 16, 6])))
add("list_shape", lambda x: K.reshape(x, [-1] + list(K.int_shape(x)[2:])))
add("math_floor", lambda x: x[:, : int(math.floor(5 / 2.0))], SEQUENCE)
add("math_pi", lambda x: K.exp(-0.5 * K.square(x)) / math.sqrt(2 * math.pi))
add("nested_lambda", lambda x: (lambda y: y * y)(x + 1), kind="flow")
add("nested_twice", lambda x: (lambda f: f(f(x)))(lambda y: y * 0.5 + 1), kind="flow")
add("inner_function", inner_function, kind="flow")
add("for_shape", reshape_loop, kind="flow")
add("while_loop", while_loop, kind="flow")
add("pyramid", pyramid, kind="flow")
add("early_return", early_return, kind="flow")
add("early_return_max", early_return, kind="flow", arguments={"mode": "max"})
add("try_except", try_except, kind="flow")
add("assertion", assertion, kind="flow")
add("map_fn", lambda x: tf.map_fn(lambda t: t * 2.0, x), VECTOR, kind="flow")
add("k_map_fn", lambda x: K.map_fn(lambda t: K.sum(t), x), VECTOR, kind="flow")
add("cond_tensor", lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: x * 2.0, lambda: x * 3.0), VECTOR, kind="flow")
add("layer_inside", lambda x: layers.UpSampling2D(2)(x), kind="flow", note="a layer without weights, called inside")
add("layer_inside_tf", lambda x: tf.keras.layers.Concatenate(axis=-1)([x, x]), kind="flow")
add("dict_of_functions", lambda x: {"relu": K.relu, "tanh": K.tanh}["tanh"](x), kind="flow")
add("string_format", lambda x: tf.identity(x, name="{}_{}".format("out", 1)), kind="flow")
add("boolean_and", lambda x: x * (K.epsilon() > 0 and 2.0), kind="flow")
add("unpack_star", lambda x: tf.add(*x), VECTORS, kind="flow")
add("isinstance", lambda x: x[0] if isinstance(x, list) else x, kind="flow")
add("hasattr", lambda x: x * (2.0 if hasattr(x, "shape") else 1.0), kind="flow")
add("getattr", lambda x: getattr(tf.nn, "relu")(x), kind="flow")


def helper(x, scale=2.0):
    return x * scale


class Owner(object):
    """Code that closes over itself: the file holds an object's text at best."""

    def __init__(self):
        self.scale = 0.5

    def closing(self):
        return lambda x: x * self.scale

    def method(self, x):
        return x * self.scale


def vae_sampling(args):
    z_mean, z_log_var = args
    epsilon = K.random_normal(shape=K.shape(z_mean), mean=0.0, stddev=1.0)
    return z_mean + K.exp(z_log_var / 2) * epsilon


def printed(x):
    print("shape:", x.shape)
    return x


def closed_layer():
    layer = layers.Dense(3, kernel_initializer="ones")
    return lambda x: layer(x)


category("unknowable")
add("global_number", lambda x: x * SCALE, kind="unknowable")
add("global_string", lambda x: K.cast(x, NAME), kind="unknowable")
add("global_list", lambda x: tf.image.resize(x, SIZES), kind="unknowable", needs="tf2")
add("global_array", lambda x: x - MEAN, RGB, kind="unknowable")
add("user_function", lambda x: helper(x), kind="unknowable")
add("user_function_arguments", lambda x: helper(x, scale=3.0) + 1, kind="unknowable")
add("user_function_def", helper, note="the def itself, not a lambda around it")
add("self_closure", Owner().closing(), kind="unknowable")
add("self_method", Owner().method, kind="unknowable")
add("layer_closure", closed_layer(), VECTOR, kind="unknowable")
add("random_normal_k", lambda x: x + K.random_normal(K.shape(x), stddev=0.1), kind="unknowable")
add("random_uniform_tf", lambda x: x * tf.random.uniform(tf.shape(x)), kind="unknowable")
add("vae_sampling", vae_sampling, VECTORS, kind="unknowable")
add("dropout_k", lambda x: K.dropout(x, 0.5), kind="unknowable")
add("dropout_tf", lambda x: tf.nn.dropout(x, rate=0.3), kind="unknowable")
add("shuffle", lambda x: tf.random.shuffle(x), kind="unknowable")
add("print_function", printed, kind="unknowable")
add("tf_print", lambda x: tf.compat.v1.Print(x, [x], "x: "), kind="unknowable")
add("py_function", lambda x: tf.py_function(lambda t: t * 2, [x], tf.float32), kind="unknowable")
add("numpy_function", lambda x: tf.numpy_function(lambda t: np.sin(t), [x], tf.float32), kind="unknowable")
add("learning_phase", lambda x: x * K.cast(K.learning_phase(), "float32"), kind="unknowable")
add("in_train_phase", lambda x: K.in_train_phase(x * 2, x), kind="unknowable")
add("variable_inside", lambda x: x * K.variable(0.5), kind="unknowable")
add("tf_variable_inside", lambda x: x + tf.Variable(tf.ones((6,)), trainable=False), kind="unknowable")
add("layer_with_weights", lambda x: layers.Dense(2, kernel_initializer="ones")(x), VECTOR, kind="unknowable")
add("lambda_layer_inside", lambda x: Lambda(lambda y: y * 2)(x), kind="flow")
add(
    "read_file",
    lambda x: x * len(open("constants.txt").read()) if False else x,
    kind="unknowable",
    note="never reads; a refusal is right",
)
add("os_system", lambda x: __import__("os").getpid() * 0 + x, kind="unknowable", note="must never be run")
add("eval", lambda x: eval("x * 2"), kind="unknowable", note="must never be run")
