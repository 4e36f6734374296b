"""Whole models as old code builds them, for write_corpus.py to save with the Keras of each stack.

Runs under Python 2.7 and 3.6 to 3.13. A model is made by a function; `needs` as in bodies.py, and "raw" where
TensorFlow functions are called on Keras tensors (tf.keras before Keras 3). `data`: how inputs are drawn, one word
or one for each input.
"""
# Old code as people wrote it.
# ruff: noqa

import importlib

from stack import KERAS3, Input, K, Lambda, Model, Sequential, keras, layers, ops, tf

MODELS = []


def model(needs="", data="normal", fit=False, small=True, note="", loss="mse"):
    def register(function):
        MODELS.append(
            {
                "name": "model_" + function.__name__,
                "build": function,
                "needs": needs,
                "data": data,
                "fit": fit,
                "small": small,
                "note": note,
                "loss": loss,
            }
        )
        return function

    return register


def channel_attention(input_feature, ratio=4):
    channel = K.int_shape(input_feature)[-1] if hasattr(K, "int_shape") else input_feature.shape[-1]
    shared_layer_one = layers.Dense(
        channel // ratio, activation="relu", kernel_initializer="he_normal", use_bias=True, bias_initializer="zeros"
    )
    shared_layer_two = layers.Dense(channel, kernel_initializer="he_normal", use_bias=True, bias_initializer="zeros")
    avg_pool = layers.GlobalAveragePooling2D()(input_feature)
    avg_pool = layers.Reshape((1, 1, channel))(avg_pool)
    avg_pool = shared_layer_two(shared_layer_one(avg_pool))
    max_pool = layers.GlobalMaxPooling2D()(input_feature)
    max_pool = layers.Reshape((1, 1, channel))(max_pool)
    max_pool = shared_layer_two(shared_layer_one(max_pool))
    feature = layers.Add()([avg_pool, max_pool])
    feature = layers.Activation("sigmoid")(feature)
    return layers.multiply([input_feature, feature])


def spatial_attention(input_feature, kernel_size=7):
    avg_pool = Lambda(lambda x: K.mean(x, axis=3, keepdims=True))(input_feature)
    max_pool = Lambda(lambda x: K.max(x, axis=3, keepdims=True))(input_feature)
    concat = layers.Concatenate(axis=3)([avg_pool, max_pool])
    feature = layers.Conv2D(
        filters=1,
        kernel_size=kernel_size,
        strides=1,
        padding="same",
        activation="sigmoid",
        kernel_initializer="he_normal",
        use_bias=False,
    )(concat)
    return layers.multiply([input_feature, feature])


@model(fit=True, note="the popular CBAM block, in a small residual net")
def cbam():
    x = inputs = Input(shape=(8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", kernel_initializer="he_normal")(x)
    x = layers.BatchNormalization()(x)
    x = shortcut = layers.Activation("relu")(x)
    x = layers.Conv2D(8, 3, padding="same", kernel_regularizer=keras.regularizers.l2(1e-4))(x)
    x = layers.BatchNormalization()(x)
    x = spatial_attention(channel_attention(x), kernel_size=3)
    x = layers.add([x, shortcut])
    x = layers.Activation("relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return Model(inputs, layers.Dense(4, activation="softmax", kernel_initializer="he_normal")(x))


@model(note="CBAM by tf functions in Lambdas, two blocks one after the other")
def cbam_tf():
    x = inputs = Input(shape=(8, 8, 3))
    for filters in (4, 8):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
        x = layers.ReLU()(x)
        avg = Lambda(lambda y: tf.reduce_mean(y, axis=[1, 2], keepdims=True))(x)
        peak = Lambda(lambda y: tf.reduce_max(y, axis=[1, 2], keepdims=True))(x)
        first, second = layers.Conv2D(2, 1, activation="relu"), layers.Conv2D(filters, 1)
        gate = Lambda(lambda y: tf.nn.sigmoid(y[0] + y[1]))([second(first(avg)), second(first(peak))])
        x = layers.Multiply()([x, gate])
        pooled = Lambda(
            lambda y: tf.concat([tf.reduce_mean(y, 3, keepdims=True), tf.reduce_max(y, 3, keepdims=True)], 3)
        )(x)
        x = layers.Multiply()([x, layers.Conv2D(1, 7, padding="same", activation="sigmoid")(pooled)])
        x = layers.MaxPooling2D()(x)
    return Model(inputs, x)


@model(note="channels_first: axis 1, Permute around the convolution")
def cbam_channels_first():
    inputs = Input(shape=(4, 6, 6))
    avg = layers.GlobalAveragePooling2D(data_format="channels_first")(inputs)
    peak = layers.GlobalMaxPooling2D(data_format="channels_first")(inputs)
    one, two = layers.Dense(2, activation="relu"), layers.Dense(4)
    gate = layers.Activation("sigmoid")(layers.Add()([two(one(avg)), two(one(peak))]))
    x = layers.Multiply()([inputs, layers.Reshape((4, 1, 1))(gate)])
    mean = Lambda(lambda y: K.mean(y, axis=1, keepdims=True))(x)
    most = Lambda(lambda y: K.max(y, axis=1, keepdims=True))(x)
    maps = layers.Permute((2, 3, 1))(layers.Concatenate(axis=1)([mean, most]))
    gate = layers.Conv2D(1, 3, padding="same", activation="sigmoid", data_format="channels_last")(maps)
    return Model(inputs, layers.Multiply()([x, layers.Permute((3, 1, 2))(gate)]))


@model(note="the data format set for the whole program, as the popular code reads it")
def cbam_image_data_format():
    keras.backend.set_image_data_format("channels_first")
    try:
        x = inputs = Input(shape=(4, 6, 6))
        gate = layers.Dense(4, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
        x = layers.multiply([x, layers.Reshape((4, 1, 1))(gate)])
        x = layers.MaxPooling2D()(x) if keras.__name__ == "keras" and not KERAS3 else x
        x = layers.BatchNormalization(axis=1)(x)
        return Model(inputs, Lambda(lambda y: K.mean(y, axis=1, keepdims=True))(x))
    finally:
        keras.backend.set_image_data_format("channels_last")


@model(note="squeeze and excite with Reshape; hard sigmoid by a Lambda")
def squeeze_excite():
    x = inputs = Input((6, 6, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    gate = layers.Reshape((1, 1, 8))(layers.GlobalAveragePooling2D()(x))
    gate = layers.Conv2D(2, 1, activation="relu")(gate)
    gate = layers.Conv2D(8, 1)(gate)
    gate = Lambda(lambda t: tf.nn.relu6(t + 3.0) / 6.0, name="hard_sigmoid")(gate)
    return Model(inputs, layers.Multiply(name="scaled")([x, gate]))


def embedding_network(shape=(6,)):
    inner = Input(shape=shape)
    x = layers.Dense(5, activation="relu")(inner)
    x = layers.Dropout(0.1)(x)
    return Model(inner, layers.Dense(4)(x))


def euclidean_distance(vects):
    x, y = vects
    sum_square = K.sum(K.square(x - y), axis=1, keepdims=True)
    return K.sqrt(K.maximum(sum_square, K.epsilon()))


def eucl_dist_output_shape(shapes):
    shape1, shape2 = shapes
    return (shape1[0], 1)


def contrastive_loss(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_pred)) if KERAS3 else K.mean(K.square(y_pred))


@model(fit=True, loss=contrastive_loss, note="mnist_siamese.py: a def as the Lambda's function, own loss")
def siamese():
    base = embedding_network()
    a, b = Input(shape=(6,)), Input(shape=(6,))
    distance = Lambda(euclidean_distance, output_shape=eucl_dist_output_shape, name="distance")([base(a), base(b)])
    return Model([a, b], distance)


@model(note="L1 distance, then a Dense")
def siamese_lambda():
    base = Sequential(
        [
            layers.Conv2D(4, 3, input_shape=(6, 6, 1), activation="relu"),
            layers.Flatten(),
            layers.Dense(5, activation="sigmoid"),
        ]
    )
    left, right = Input((6, 6, 1), name="left"), Input((6, 6, 1), name="right")
    l1_layer = Lambda(lambda tensors: K.abs(tensors[0] - tensors[1]))
    return Model(
        inputs=[left, right], outputs=layers.Dense(1, activation="sigmoid")(l1_layer([base(left), base(right)]))
    )


@model(note="three towers of one nested model, L2 normalisation inside it")
def triplet():
    inner = Input((6,))
    tower = Model(inner, Lambda(lambda x: K.l2_normalize(x, axis=1))(layers.Dense(3)(inner)), name="tower")
    tensors = [Input((6,), name=name) for name in ("anchor", "positive", "negative")]
    return Model(tensors, layers.concatenate([tower(t) for t in tensors], axis=-1))


@model()
def nested_once():
    inputs = Input((6,))
    return Model(inputs, layers.Dense(2)(embedding_network()(layers.Dense(6)(inputs))))


@model(note="one nested model used twice on one input")
def nested_twice_in_row():
    inputs = Input((4,))
    inner = embedding_network((4,))
    return Model(inputs, inner(inner(inputs)))


@model(note="a nested model whose own Input is an output's source too")
def nested_deep():
    a = Input((6,), name="deep_a")
    first = Model(a, Lambda(lambda x: x * 2.0, name="double")(layers.Dense(6, name="first")(a)), name="inner")
    b = Input((6,), name="deep_b")
    second = Model(b, layers.add([first(b), b]), name="middle")
    c = Input((6,), name="deep_c")
    return Model(c, [second(c), first(c)], name="outer")


@model()
def nested_multi_output():
    a = Input((6,))
    inner = Model(a, [layers.Dense(3)(a), layers.Dense(4)(a)])
    b, c = Input((6,)), Input((6,))
    first, second = inner(b), inner(c)
    return Model([b, c], [layers.concatenate([first[0], second[1]]), layers.concatenate([first[1], second[0]])])


@model(note="a functional model and a Sequential inside a Sequential")
def sequential_of_models():
    a = Input((6,))
    inner = Model(a, layers.Dense(5)(a))
    tail = Sequential([layers.Dense(4, input_shape=(5,)), layers.Activation("tanh")])
    net = Sequential([inner, tail, layers.Dense(2)])
    if KERAS3:
        net.build((None, 6))
    return net


@model(fit=True)
def sequential_lambda_first():
    net = Sequential()
    net.add(Lambda(lambda x: x / 127.5 - 1.0, input_shape=(6, 6, 3)))
    net.add(layers.Conv2D(4, 3, activation="elu"))
    net.add(layers.Flatten())
    net.add(layers.Dense(1))
    return net


@model(note="the self-driving car: Lambda, Cropping2D, subsample")
def sequential_driving():
    net = Sequential()
    net.add(Lambda(lambda x: (x / 255.0) - 0.5, input_shape=(12, 10, 3)))
    net.add(layers.Cropping2D(cropping=((3, 2), (0, 0))))
    net.add(layers.Conv2D(4, (3, 3), strides=(2, 2), activation="relu"))
    net.add(layers.Dropout(0.5))
    net.add(layers.Flatten())
    net.add(layers.Dense(3))
    net.add(layers.Dense(1))
    return net


@model()
def sequential_lambda_inside():
    net = Sequential([layers.Dense(6, input_shape=(6,)), Lambda(lambda x: K.relu(x, alpha=0.1)), layers.Dense(3)])
    net.add(Lambda(lambda x: K.softmax(x)))
    return net


@model(note="no InputLayer in the config of Keras 2.2 and 2.3", needs="keras2")
def sequential_batch_input_shape():
    net = Sequential()
    net.add(layers.Dense(5, batch_input_shape=(None, 6), activation="relu"))
    net.add(Lambda(lambda x: x**2, name="squared"))
    net.add(layers.Dense(2))
    return net


@model(needs="keras2")
def sequential_fixed_batch():
    net = Sequential()
    net.add(Lambda(lambda x: K.expand_dims(x, axis=-1), batch_input_shape=(4, 6)))
    net.add(layers.Conv1D(3, 3, padding="causal"))
    net.add(layers.GlobalMaxPooling1D())
    return net


@model(note="built from an explicit InputLayer")
def sequential_input_layer():
    return Sequential([layers.InputLayer(input_shape=(6,)), layers.Dense(4), Lambda(lambda x: x + 1)])


@model(needs="keras2")
def sequential_input_dim():
    return Sequential([layers.Dense(4, input_dim=6), layers.LeakyReLU(alpha=0.2), layers.Dense(2, activation="tanh")])


@model()
def time_distributed_lambda():
    inputs = Input((3, 4, 4, 2))
    x = layers.TimeDistributed(layers.Conv2D(3, 3))(inputs)
    x = layers.TimeDistributed(Lambda(lambda y: K.mean(y, axis=[1, 2])))(x)
    return Model(inputs, layers.TimeDistributed(layers.Dense(2))(x))


@model()
def time_distributed_model():
    inputs = Input((3, 6))
    return Model(inputs, layers.LSTM(3)(layers.TimeDistributed(embedding_network())(inputs)))


@model()
def lambda_shared():
    a, b = Input((6,), name="a"), Input((6,), name="b")
    scale = Lambda(lambda x: x * 0.5 + 1, name="scale")
    return Model([a, b], layers.subtract([scale(layers.Dense(3)(a)), scale(layers.Dense(3)(b))]))


@model()
def lambda_shared_shapes():
    a, b = Input((6,)), Input((5, 6))
    norm = Lambda(lambda x: K.l2_normalize(x, axis=-1))
    return Model([a, b], [norm(a), norm(b)])


@model(fit=True)
def lambda_outputs():
    inputs = Input((6, 6, 3), name="image")
    x = layers.Conv2D(4, 3, name="features")(inputs)
    mean = Lambda(lambda t: K.mean(t, axis=[1, 2]), name="mean")(x)
    sign = Lambda(lambda t: K.cast(t > 0, "float32"), name="sign")(x)
    return Model(inputs, [x, mean, sign])


@model()
def lambda_list_outputs():
    inputs = Input((6,))
    left, right = Lambda(lambda x: [x[:, :3], x[:, 3:]])(layers.Dense(6)(inputs))
    return Model(inputs, layers.multiply([left, right]))


@model(note="slices by a loop over Lambdas with a default")
def lambda_loop():
    inputs = Input((6,))
    parts = [Lambda(lambda x, i=i: x[:, i : i + 2], name="part_{}".format(i))(inputs) for i in (0, 2, 4)]
    return Model(inputs, layers.concatenate([layers.Dense(2)(part) for part in parts]))


@model(note="Lambda layers in a row, of different spellings")
def lambda_chain():
    x = inputs = Input((4, 4, 3))
    x = Lambda(lambda y: y[..., ::-1], name="bgr")(x)
    x = Lambda(lambda y: y - [103.939, 116.779, 123.68], name="mean")(x)
    x = Lambda(lambda y: tf.transpose(y, [0, 3, 1, 2]))(x)
    x = Lambda(lambda y, factor: y * factor, arguments={"factor": 0.017})(x)
    x = Lambda(lambda y: K.permute_dimensions(y, (0, 2, 3, 1)))(x)
    return Model(inputs, layers.Conv2D(2, 3)(x))


@model(note="Pix2Pix-like: resize and add")
def feature_pyramid():
    inputs = Input((8, 8, 3))
    c1 = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    c2 = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(c1)
    up = Lambda(lambda x: tf.compat.v1.image.resize_bilinear(x, (8, 8)), name="up")(c2)
    return Model(inputs, [layers.add([c1, up]), c2])


@model(note="SqueezeNet-like residual scaling with arguments and output_shape, from Inception-ResNet")
def inception_resnet_block():
    inputs = Input((6, 6, 8))
    up = layers.Conv2D(8, 1)(
        layers.concatenate([layers.Conv2D(2, 1)(inputs), layers.Conv2D(2, 3, padding="same")(inputs)])
    )
    x = Lambda(
        lambda inputs, scale: inputs[0] + inputs[1] * scale,
        output_shape=(6, 6, 8),
        arguments={"scale": 0.17},
        name="block35",
    )([inputs, up])
    return Model(inputs, layers.Activation("relu")(x))


@model(note="dueling DQN", fit=True)
def dueling():
    inputs = Input((1, 6))
    x = layers.Dense(5, activation="relu")(layers.Flatten()(inputs))
    x = layers.Dense(4)(x)
    out = Lambda(
        lambda a: K.expand_dims(a[:, 0], -1) + a[:, 1:] - K.mean(a[:, 1:], axis=1, keepdims=True), output_shape=(3,)
    )(x)
    return Model(inputs, out)


@model(data="index", note="two embeddings and their dot product, NCF-like")
def matrix_factorisation():
    user, item = Input((1,), name="user"), Input((1,), name="item")
    u = layers.Flatten()(layers.Embedding(5, 3, name="users")(user))
    i = layers.Flatten()(layers.Embedding(7, 3, name="items")(item))
    dot = layers.Dot(axes=1)([u, i])
    distance = Lambda(lambda x: K.sum(K.abs(x[0] - x[1]), axis=-1, keepdims=True))([u, i])
    return Model([user, item], layers.Dense(1, activation="sigmoid")(layers.concatenate([dot, distance])))


@model(data="index", note="text CNN with k-max pooling and mean of embeddings")
def text():
    inputs = Input((7,), dtype="int32")
    x = layers.Embedding(10, 4, input_length=7)(inputs) if not KERAS3 else layers.Embedding(10, 4)(inputs)
    x = layers.SpatialDropout1D(0.2)(x)
    conv = layers.GlobalMaxPooling1D()(layers.Conv1D(3, 2, activation="relu")(x))
    mean = Lambda(lambda y: K.mean(y, axis=1), output_shape=(4,))(x)
    return Model(inputs, layers.Dense(2, activation="softmax")(layers.concatenate([conv, mean])))


@model(note="attention with Permute, RepeatVector and a sum by Lambda")
def attention():
    inputs = Input((5, 4))
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(inputs)
    score = layers.Flatten()(layers.Dense(1, activation="tanh")(x))
    weights = layers.Permute([2, 1])(layers.RepeatVector(6)(layers.Activation("softmax")(score)))
    context = Lambda(lambda xin: K.sum(xin, axis=-2), output_shape=(6,))(layers.multiply([x, weights]))
    return Model(inputs, layers.Dense(2)(context))


# Raw TensorFlow functions on Keras tensors


@model(needs="raw")
def raw_arithmetic():
    a, b = Input((6,)), Input((6,))
    x = layers.Dense(6)(a) * 2.0 + b / 4.0 - 1.0
    x = (1.0 - x) ** 2 % 3.0 // 0.5 + -x
    return Model([a, b], tf.math.divide(tf.abs(x), 1.5 + tf.square(b)))


@model(needs="raw")
def raw_slicing():
    inputs = Input((6, 6, 4))
    x = inputs[:, 1:-1, ::2, :3]
    return Model(inputs, [x, inputs[..., ::-1], inputs[:, 0], inputs[..., tf.newaxis], inputs[:, -1, :, 1]])


@model(needs="raw")
def raw_concat():
    a, b = Input((4, 4, 2)), Input((4, 4, 3))
    x = tf.concat([a, b], axis=-1)
    return Model([a, b], [layers.Conv2D(2, 1)(x), tf.stack([a, a], axis=1), tf.concat([b, b], 1)])


@model(needs="raw")
def raw_reduce():
    inputs = Input((5, 5, 4))
    x = tf.concat(
        [tf.reduce_mean(inputs, axis=3, keepdims=True), tf.reduce_max(inputs, axis=-1, keepdims=True)], axis=3
    )
    gate = layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x)
    return Model(inputs, [inputs * gate, tf.reduce_sum(inputs, [1, 2]), tf.math.reduce_std(inputs, axis=1)])


@model(needs="raw")
def raw_backend():
    inputs = Input((5, 5, 4))
    x = K.mean(inputs, axis=3, keepdims=True) + K.max(inputs, axis=[1, 2], keepdims=True)
    return Model(inputs, [K.relu(x, alpha=0.1), K.l2_normalize(K.batch_flatten(inputs), axis=-1), K.clip(inputs, 0, 1)])


@model(needs="raw")
def raw_resize():
    inputs = Input((4, 5, 3))
    return Model(inputs, [tf.image.resize(inputs, (8, 10)), tf.image.resize(inputs, [7, 3], method="nearest")])


@model(needs="raw")
def raw_resize_v1():
    inputs = Input((4, 5, 3))
    return Model(inputs, tf.compat.v1.image.resize_bilinear(layers.Conv2D(2, 1)(inputs), (7, 9), align_corners=True))


@model(needs="raw")
def raw_matmul():
    a, b = Input((3, 4)), Input((3, 4))
    weights = tf.nn.softmax(tf.matmul(a, b, transpose_b=True) / 2.0)
    return Model([a, b], [tf.matmul(weights, b), tf.einsum("bij,bkj->bik", a, b)])


@model(needs="raw", note="one operation each, since TF 1.15 to 2.3 cannot save `a/b` beside `a` in HDF5")
def raw_matmul_one():
    a, b = Input((3, 4)), Input((4, 5))
    return Model([a, b], tf.matmul(a, b))


@model(needs="raw")
def raw_softmax():
    inputs = Input((6,))
    return Model(inputs, tf.nn.softmax(layers.Dense(4)(inputs)))


@model(needs="raw")
def raw_relu6():
    inputs = Input((4, 4, 6))
    return Model(inputs, tf.nn.relu6(inputs) * 0.5)


@model(needs="raw")
def raw_transpose():
    inputs = Input((4, 6))
    return Model(inputs, tf.transpose(inputs, [0, 2, 1]))


@model(needs="raw")
def raw_pad():
    inputs = Input((4, 6))
    return Model(inputs, tf.pad(inputs, [[0, 0], [1, 2], [0, 0]]))


@model(needs="raw")
def raw_l2():
    inputs = Input((6,))
    return Model(inputs, tf.nn.l2_normalize(layers.Dense(4)(inputs), axis=1))


@model(needs="raw")
def raw_reshape():
    inputs = Input((4, 6))
    return Model(inputs, tf.reshape(inputs, [-1, 24]))


@model(needs="raw")
def raw_keras_max():
    inputs = Input((4, 4, 6))
    return Model(inputs, K.max(layers.Conv2D(3, 1)(inputs), axis=3, keepdims=True))


@model(needs="raw")
def raw_where():
    inputs = Input((6,))
    x = layers.Dense(6)(inputs)
    return Model(inputs, tf.where(x > 0, x, tf.zeros_like(x)) + tf.cast(tf.greater_equal(inputs, 0.5), tf.float32))


@model(needs="raw")
def raw_activations():
    inputs = Input((4, 4, 6))
    x = tf.nn.relu6(inputs + 3.0) * inputs / 6.0
    x = tf.nn.leaky_relu(x, alpha=0.1) + tf.nn.swish(x) + tf.sigmoid(x) * tf.tanh(x) + tf.exp(-tf.abs(x))
    return Model(inputs, tf.clip_by_value(tf.math.log(1.0 + tf.square(x)), 0.0, 1.5))


@model(needs="raw")
def raw_shapes():
    inputs = Input((4, 4, 6))
    x = tf.reshape(inputs, [-1, 16, 6])
    y = tf.transpose(x, perm=[0, 2, 1])
    z = tf.reshape(inputs, [tf.shape(inputs)[0], 4, 24])
    return Model(
        inputs,
        [
            y,
            z,
            tf.expand_dims(y, 1),
            tf.squeeze(x[:, :1], axis=1),
            tf.tile(x, [1, 2, 1]),
            tf.pad(x, [[0, 0], [1, 1], [0, 0]]),
        ],
    )


@model(needs="raw")
def raw_split():
    inputs = Input((4, 4, 6))
    a, b = tf.split(inputs, 2, axis=-1)
    parts = tf.unstack(inputs, axis=1)
    return Model(
        inputs,
        [a * b, parts[0] - parts[3], tf.gather(inputs, [2, 0], axis=3), tf.nn.depth_to_space(inputs[..., :4], 2)],
    )


@model(needs="raw", note="TensorFlow functions and a Lambda, within a nested model used twice")
def raw_nested():
    inner = Input((6,))
    net = Model(inner, tf.nn.l2_normalize(Lambda(lambda x: x * 2)(layers.Dense(4)(inner)) + 1.0, axis=-1))
    a, b = Input((6,)), Input((6,))
    return Model([a, b], tf.reduce_sum(net(a) * net(b), axis=-1, keepdims=True))


@model(needs="raw", fit=True)
def raw_constants():
    inputs = Input((4, 4, 3))
    x = (inputs - tf.constant([0.485, 0.456, 0.406])) / tf.constant([0.229, 0.224, 0.225])
    x = layers.Conv2D(3, 3)(x)
    return Model(inputs, tf.maximum(x, 0.1 * x) + tf.constant(0.5))


@model(needs="raw", note="a tensor as the second operand, and one by keyword")
def raw_operands():
    a, b = Input((6,)), Input((6,))
    return Model([a, b], tf.maximum(x=a, y=b) + tf.subtract(1.0, b) * tf.add(a, y=b) + tf.pow(tf.abs(a), 0.5))


@model(needs="keras3", note="keras.ops on Keras tensors: opens in Keras 3 as it is")
def ops_functional():
    inputs = Input((4, 4, 6))
    x = ops.concatenate([ops.mean(inputs, axis=3, keepdims=True), ops.max(inputs, axis=3, keepdims=True)], axis=-1)
    x = layers.Conv2D(1, 3, padding="same")(x) * inputs + 1.0
    return Model(inputs, [Lambda(lambda y: ops.relu(y))(x), x[:, 1:]])


# Applications, small


@model(small=False)
def mobilenet():
    return keras.applications.MobileNet(input_shape=(32, 32, 3), alpha=0.25, weights=None, classes=5)


@model(small=False)
def mobilenet_v2():
    module = getattr(keras.applications, "mobilenet_v2", keras.applications)
    return module.MobileNetV2(input_shape=(32, 32, 3), alpha=0.35, weights=None, classes=5)


@model(small=False, note="ends in a Lambda of its own features")
def mobilenet_headless():
    base = keras.applications.MobileNet(input_shape=(32, 32, 3), alpha=0.25, weights=None, include_top=False)
    base.trainable = False
    x = Lambda(lambda y: K.mean(y, axis=[1, 2]))(base.output)
    return Model(base.input, layers.Dense(3, activation="softmax")(x))


@model(small=False, note="the application's model as a frozen layer of a Sequential")
def mobilenet_transfer():
    base = keras.applications.MobileNet(input_shape=(32, 32, 3), alpha=0.25, weights=None, include_top=False)
    base.trainable = False
    net = Sequential([base, layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax")])
    if KERAS3:
        net.build((None, 32, 32, 3))
    return net


@model(small=False, note="a ResNet of keras.applications's blocks: two stacks")
def resnet_small():
    names = (
        "keras_applications.resnet_common",
        "tensorflow.python.keras.applications.resnet",
        "keras.applications.resnet",
        "keras.src.applications.resnet",
    )
    if keras.__name__ == "tf_keras":
        names = ("tf_keras.src.applications.resnet",)
    for name in names:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        if hasattr(module, "ResNet"):
            break
    else:
        raise AttributeError("no ResNet in " + ", ".join(names))
    stack = getattr(module, "stack1", None) or module.stack_residual_blocks_v1
    options = {}
    if name == "keras_applications.resnet_common":
        options = {"backend": keras.backend, "layers": layers, "models": keras.models, "utils": keras.utils}

    def blocks(x):
        names = ("backend", "layers", "models", "utils")
        if options:
            module.backend, module.layers, module.models, module.keras_utils = [options[n] for n in names]
        x = stack(x, 4, 2, stride1=1, name="conv2")
        return stack(x, 8, 2, name="conv3")

    return module.ResNet(
        blocks, False, True, include_top=True, weights=None, input_shape=(32, 32, 3), classes=5, **options
    )


@model(small=False, note="the network written out: identity and projection shortcuts, frozen BatchNormalization")
def resnet_by_hand():
    x = inputs = Input((16, 16, 3))
    x = layers.ZeroPadding2D(3)(x)
    x = layers.Conv2D(8, 7, strides=2, name="conv1")(x)
    for stage, (filters, stride) in enumerate([(8, 1), (16, 2)]):
        for block in range(2):
            shortcut = x
            strides = stride if block == 0 else 1
            y = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
            y = layers.BatchNormalization(trainable=stage == 1, name="bn{}{}a".format(stage, block))(y)
            y = layers.Activation("relu")(y)
            y = layers.Conv2D(filters, 3, padding="same", use_bias=False)(y)
            y = layers.BatchNormalization(scale=False, epsilon=1e-4)(y)
            if block == 0 and stage:
                shortcut = layers.Conv2D(filters, 1, strides=stride)(shortcut)
            x = layers.Activation("relu")(layers.add([y, shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    return Model(inputs, layers.Dense(5, activation="softmax")(x))


# Recurrent layers


@model(fit=True, note="default recurrent_activation of the time")
def lstm():
    inputs = Input((5, 4))
    return Model(inputs, layers.Dense(2)(layers.LSTM(3)(layers.LSTM(4, return_sequences=True)(inputs))))


@model(note="hard_sigmoid by name, which Keras 3 redefined")
def lstm_hard_sigmoid():
    inputs = Input((5, 4))
    x = layers.LSTM(4, return_sequences=True, recurrent_activation="hard_sigmoid")(inputs)
    return Model(inputs, layers.GRU(3, recurrent_activation="hard_sigmoid")(x))


@model()
def gru():
    inputs = Input((5, 4))
    return Model(inputs, layers.GRU(3, return_sequences=True)(inputs))


@model()
def gru_reset_after():
    inputs = Input((5, 4))
    first = layers.GRU(3, reset_after=True, return_sequences=True)(inputs)
    return Model(inputs, layers.GRU(3, reset_after=False, go_backwards=True)(first))


@model()
def bidirectional():
    inputs = Input((5, 4))
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(inputs)
    return Model(inputs, layers.Bidirectional(layers.GRU(2), merge_mode="sum")(x))


@model()
def lstm_states():
    inputs = Input((5, 4))
    x, h, c = layers.LSTM(3, return_state=True, return_sequences=True)(inputs)
    return Model(inputs, [layers.LSTM(3)(x, initial_state=[h, c]), h, c])


@model(needs="keras2", note="stateful, batch of 4")
def lstm_stateful():
    net = Sequential()
    net.add(layers.LSTM(3, stateful=True, return_sequences=True, batch_input_shape=(4, 5, 4)))
    net.add(layers.LSTM(2, stateful=True))
    net.add(layers.Dense(1))
    return net


@model(needs="keras2")
def lstm_options():
    inputs = Input((5, 4))
    x = layers.LSTM(3, implementation=1, unit_forget_bias=False, unroll=True, return_sequences=True)(inputs)
    return Model(inputs, layers.LSTM(3, implementation=2, dropout=0.1, recurrent_dropout=0.1)(x))


@model(needs="keras2", note="time_major in the config")
def lstm_time_major():
    inputs = Input((5, 4))
    return Model(inputs, layers.LSTM(3, time_major=True, return_sequences=True)(inputs))


@model()
def simple_rnn():
    inputs = Input((None, 4))
    return Model(inputs, layers.SimpleRNN(3)(inputs))


@model()
def rnn_cells():
    inputs = Input((5, 4))
    cells = [layers.LSTMCell(3), layers.LSTMCell(2)]
    return Model(inputs, layers.RNN(layers.StackedRNNCells(cells))(inputs))


@model()
def conv_lstm():
    inputs = Input((3, 5, 5, 2))
    return Model(inputs, layers.ConvLSTM2D(2, 3, padding="same", return_sequences=True)(inputs))


@model(data="index")
def embedding_masked():
    inputs = Input((6,))
    x = layers.Embedding(10, 4, mask_zero=True)(inputs)
    return Model(inputs, layers.LSTM(3)(x))


@model(note="Masking with mask_value, time distributed Dense")
def masking():
    inputs = Input((5, 4))
    x = layers.Masking(mask_value=0.0)(inputs)
    return Model(inputs, layers.LSTM(3, return_sequences=False)(layers.TimeDistributed(layers.Dense(3))(x)))


@model(note="a Lambda behind a mask")
def masked_lambda():
    inputs = Input((5, 4))
    x = layers.Masking()(inputs)
    x = layers.LSTM(3, return_sequences=True)(x)
    return Model(
        inputs, Lambda(lambda y: K.mean(y, axis=1))(x) if KERAS3 else Lambda(lambda y, mask=None: K.mean(y, axis=1))(x)
    )


# Layers with options


@model(note="hard_sigmoid as an activation everywhere")
def hard_sigmoid():
    inputs = Input((6, 6, 3))
    x = layers.Conv2D(4, 3, activation="hard_sigmoid")(inputs)
    x = layers.Flatten()(layers.Activation("hard_sigmoid")(x))
    return Model(inputs, layers.Dense(3, activation="hard_sigmoid")(x))


@model()
def activations():
    inputs = Input((6,))
    names = ["elu", "selu", "softplus", "softsign", "relu", "tanh", "sigmoid", "exponential", "linear", "softmax"]
    return Model(inputs, [layers.Dense(3, activation=name)(inputs) for name in names])


@model()
def activation_functions():
    inputs = Input((6,))
    x = layers.Activation(keras.activations.tanh)(layers.Dense(4)(inputs))
    return Model(inputs, layers.Dense(3, activation=keras.activations.softmax)(x))


@model(note="a tf function as the activation: by name in the file")
def activation_tf():
    inputs = Input((6,))
    return Model(inputs, layers.Dense(3, activation=tf.nn.sigmoid)(layers.Dense(4, activation=tf.nn.relu)(inputs)))


@model()
def activation_layers():
    inputs = Input((4, 4, 3))
    x = layers.Conv2D(4, 1)(inputs)
    x = layers.PReLU(shared_axes=[1, 2])(layers.LeakyReLU()(x))
    x = layers.ELU(alpha=0.7)(x)
    x = layers.ThresholdedReLU(theta=0.2)(x) if hasattr(layers, "ThresholdedReLU") and not KERAS3 else x
    return Model(inputs, [layers.Softmax(axis=1)(x), layers.PReLU()(x)])


@model()
def relu_arguments():
    inputs = Input((4, 4, 3))
    return Model(
        inputs,
        [
            layers.ReLU()(inputs),
            layers.ReLU(max_value=6.0)(inputs),
            layers.ReLU(6.0, 0.1, 0.5)(inputs),
            layers.ReLU(negative_slope=0.2)(inputs),
        ],
    )


@model(fit=True)
def convolutions():
    x = inputs = Input((9, 9, 3))
    x = layers.SeparableConv2D(4, 3, depth_multiplier=2, padding="same", activation="relu")(x)
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)(x)
    x = layers.Conv2D(6, 3, dilation_rate=2, padding="same")(x)
    x = layers.Conv2DTranspose(3, 3, strides=2, padding="same", activation="tanh")(x)
    return Model(inputs, layers.Conv2DTranspose(2, 2, strides=1, padding="valid", use_bias=False)(x))


@model()
def convolutions_1d_3d():
    a, b = Input((8, 3)), Input((4, 4, 4, 2))
    x = layers.Conv1D(4, 3, padding="causal", dilation_rate=2)(a)
    x = layers.AveragePooling1D(2)(layers.SeparableConv1D(3, 3)(x))
    y = layers.MaxPooling3D(2)(layers.Conv3D(2, 2, padding="same")(b))
    return Model([a, b], [x, layers.GlobalAveragePooling3D()(layers.Conv3DTranspose(2, 2)(y))])


@model(needs="keras2", note="groups, from TF 2.3 on")
def grouped_convolution():
    inputs = Input((5, 5, 4))
    return Model(inputs, layers.Conv2D(4, 1, groups=1)(inputs))


@model()
def upsampling():
    inputs = Input((3, 4, 2))
    return Model(
        inputs,
        [
            layers.UpSampling2D()(inputs),
            layers.UpSampling2D((2, 3), interpolation="bilinear")(inputs),
            layers.UpSampling2D(size=3, interpolation="nearest")(inputs),
        ],
    )


@model()
def upsampling_1d_3d():
    a, b = Input((3, 2)), Input((2, 2, 2, 1))
    return Model([a, b], [layers.UpSampling1D(3)(a), layers.UpSampling3D((1, 2, 2))(b)])


@model()
def padding_cropping():
    inputs = Input((6, 6, 2))
    x = layers.ZeroPadding2D(((1, 0), (2, 3)))(inputs)
    x = layers.Cropping2D(((1, 1), (0, 2)))(x)
    return Model(inputs, [x, layers.ZeroPadding2D(1)(x), layers.Cropping2D(1)(x)])


@model(note="the loss NaN-safe head of MobileNet: Reshape, Permute, RepeatVector, Flatten")
def shapes():
    inputs = Input((4, 6))
    x = layers.Permute((2, 1))(inputs)
    x = layers.Reshape((3, -1))(x)
    return Model(inputs, [x, layers.RepeatVector(2)(layers.Flatten()(x))])


@model(fit=True)
def normalisation():
    inputs = Input((4, 4, 3))
    x = layers.BatchNormalization(axis=-1, momentum=0.9, epsilon=1e-3, center=False)(inputs)
    x = layers.BatchNormalization(axis=2, scale=False)(x)
    return Model(inputs, layers.BatchNormalization(axis=-1, center=False, scale=False)(x))


@model()
def layer_normalisation():
    inputs = Input((4, 6))
    return Model(
        inputs, layers.LayerNormalization(axis=-1, epsilon=1e-5)(layers.LayerNormalization(scale=False)(inputs))
    )


@model(fit=True, note="frozen layers: HDF5 keeps trainable weights first")
def frozen_layers():
    inputs = Input((6, 6, 3))
    x = layers.Conv2D(4, 3, trainable=False)(inputs)
    bn = layers.BatchNormalization()
    x = bn(x)
    bn.trainable = False
    x = layers.BatchNormalization(trainable=False)(layers.Conv2D(4, 1)(x))
    return Model(inputs, layers.BatchNormalization()(x))


@model(fit=True, note="a frozen model inside another, BatchNormalization within: the order of its weights in HDF5")
def frozen_nested():
    a = Input((6, 6, 3))
    x = layers.BatchNormalization(name="bn_inner")(layers.Conv2D(4, 3, name="conv_inner")(a))
    inner = Model(
        a, layers.BatchNormalization(name="bn_inner_2")(layers.Conv2D(4, 1, name="conv_inner_2")(x)), name="inner"
    )
    inner.trainable = False
    b = Input((6, 6, 3))
    x = inner(b)
    return Model(b, layers.Dense(2)(layers.BatchNormalization()(layers.GlobalAveragePooling2D()(x))))


@model(fit=True, note="part of a nested model frozen")
def partly_frozen_nested():
    a = Input((6,))
    first, norm = layers.Dense(5, name="first"), layers.BatchNormalization(name="norm")
    inner = Model(
        a, layers.Dense(4, name="last")(layers.BatchNormalization(name="norm_2")(norm(first(a)))), name="inner"
    )
    first.trainable = False
    norm.trainable = False
    b = Input((6,))
    return Model(b, layers.Dense(2)(inner(b)))


@model()
def noise():
    x = inputs = Input((4, 4, 3))
    x = layers.SpatialDropout2D(0.3)(layers.GaussianNoise(0.2)(layers.Dropout(0.5)(x)))
    x = layers.GaussianDropout(0.1)(x)
    x = layers.AlphaDropout(0.1)(x)
    return Model(inputs, layers.ActivityRegularization(l2=0.01)(layers.Conv2D(2, 1)(x)))


@model()
def merging():
    a, b = Input((6,)), Input((6,))
    kinds = [
        layers.Add,
        layers.Subtract,
        layers.Multiply,
        layers.Average,
        layers.Maximum,
        layers.Minimum,
        layers.Concatenate,
    ]
    return Model([a, b], [kind()([a, b]) for kind in kinds])


@model()
def merging_functions():
    a, b = Input((4, 6)), Input((4, 6))
    names = ("add", "subtract", "multiply", "average", "maximum", "minimum")
    outs = [getattr(layers, name)([a, b]) for name in names]
    return Model([a, b], outs + [layers.concatenate([a, b], axis=1), layers.dot([a, b], axes=2)])


@model()
def dot_layers():
    a, b = Input((3, 4)), Input((5, 4))
    return Model([a, b], [layers.Dot(axes=2)([a, b]), layers.Dot(axes=(2, 2), normalize=True)([a, b])])


@model()
def pooling():
    inputs = Input((6, 6, 3))
    outs = [
        layers.GlobalAveragePooling2D()(inputs),
        layers.GlobalMaxPooling2D()(inputs),
        layers.MaxPooling2D(3, strides=2, padding="same")(inputs),
    ]
    return Model(inputs, outs + [layers.AveragePooling2D((2, 3), padding="same")(inputs), layers.MaxPool2D()(inputs)])


@model(needs="keras2", note="gone in Keras 3")
def locally_connected():
    a, b = Input((6, 3)), Input((5, 5, 2))
    return Model([a, b], [layers.LocallyConnected1D(2, 3)(a), layers.LocallyConnected2D(2, 3)(b)])


@model(fit=True)
def many_inputs_outputs():
    image, vector = Input((6, 6, 3), name="image"), Input((4,), name="vector")
    x = layers.Flatten()(layers.Conv2D(2, 3, name="conv")(image))
    x = layers.concatenate([x, vector])
    return Model(
        inputs=[image, vector],
        outputs=[layers.Dense(3, activation="softmax", name="classes")(x), layers.Dense(1, name="value")(x)],
    )


@model(note="inputs and outputs in another order than they were made, names that sort differently")
def unusual_order():
    z = Input((6,), name="z_first")
    a = Input((5,), name="a_second")
    late = layers.Dense(3, name="a_late")
    early = layers.Dense(3, name="z_early")
    middle = Lambda(lambda x: x[0] * x[1], name="m_product")
    one, two = early(a), late(z)
    product = middle([two, one])
    tail = layers.Dense(2, name="b_tail")(one)
    return Model([a, z], [tail, product, two], name="order")


@model(note="an output that an inner layer gives, a layer that feeds many, one input unused by one output")
def shared_tensor_outputs():
    inputs = Input((6,))
    x = layers.Dense(4, name="x")(inputs)
    y = layers.Dense(4, name="y")(x)
    return Model(inputs, [y, x, layers.add([x, y]), layers.add([x, x])])


@model(note="one layer, three calls, and the second call's output alone")
def layer_reused():
    inputs = Input((6,))
    dense = layers.Dense(6, name="dense")
    first = dense(inputs)
    return Model(inputs, [dense(dense(first)), first])


@model(note="a sub-model cut out of a larger one: node indices that skip")
def cut_out():
    inputs = Input((6,))
    dense, norm = layers.Dense(6, name="dense"), Lambda(lambda x: K.l2_normalize(x, axis=-1), name="norm")
    unused = norm(dense(inputs))
    second = Input((6,), name="second")
    return Model(second, norm(dense(second)))


@model(note="initialisers with a dtype, constraints and regularisers")
def initialisers():
    inputs = Input((6,))
    x = layers.Dense(
        4,
        kernel_initializer=keras.initializers.VarianceScaling(scale=2.0, mode="fan_out", distribution="uniform"),
        bias_initializer=keras.initializers.Constant(0.1),
        kernel_constraint=keras.constraints.MaxNorm(2.0),
    )(inputs)
    x = layers.Dense(
        4, kernel_initializer=keras.initializers.Orthogonal(gain=1.1), kernel_regularizer=keras.regularizers.l2(0.01)
    )(x)
    x = layers.Dense(
        4,
        kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        bias_regularizer=keras.regularizers.l1(0.01),
    )(x)
    return Model(
        inputs, layers.Dense(2, kernel_initializer="glorot_normal", activity_regularizer=keras.regularizers.l2(0.1))(x)
    )


@model(needs="tf1", note="tf.initializers objects of TF 1 carry a dtype")
def initialisers_tf():
    if keras.__name__ == "keras":
        raise AttributeError("standalone Keras does not serialise TensorFlow's initialisers")
    inputs = Input((6,))
    return Model(
        inputs,
        layers.Dense(
            3, kernel_initializer=tf.glorot_uniform_initializer(), bias_initializer=tf.constant_initializer(0.5)
        )(inputs),
    )


def with_policy(name, build):
    for module in (
        getattr(keras, "mixed_precision", None),
        getattr(getattr(keras, "mixed_precision", None), "experimental", None),
    ):
        setter = getattr(module, "set_global_policy", None) or getattr(module, "set_policy", None)
        if setter:
            setter(name)
            try:
                return build()
            finally:
                setter("float32")
    raise AttributeError("no mixed_precision.set_policy")


@model(note="float64 throughout")
def float64():
    keras.backend.set_floatx("float64")
    try:
        inputs = Input((6, 6, 3))
        x = layers.Conv2D(4, 3)(inputs)
        x = Lambda(lambda y: y * 0.1 + K.mean(y, axis=-1, keepdims=True))(x)
        return Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    finally:
        keras.backend.set_floatx("float32")


@model(note="layers with a dtype of their own", needs="tf2")
def float64_layer():
    inputs = Input((6,))
    x = layers.Dense(4, dtype="float64")(inputs)
    return Model(inputs, [x, layers.Dense(3, dtype="float32")(x), Lambda(lambda y: y * 2, dtype="float64")(x)])


@model(data="image")
def uint8_input():
    inputs = Input((4, 4, 3), dtype="uint8")
    x = Lambda(lambda y: K.cast(y, "float32") / 255.0)(inputs)
    return Model(inputs, layers.Conv2D(2, 1)(x))


@model(note="the output's shape given by a lambda, which is bytecode too")
def output_shape_lambda():
    inputs = Input((5, 6))
    x = Lambda(lambda y: K.sum(y, axis=1), output_shape=lambda s: (s[0], s[2]))(inputs)
    return Model(inputs, layers.Dense(2)(x))


@model(note="open height and width")
def open_sizes():
    inputs = Input((None, None, 3))
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    x = layers.multiply([x, Lambda(lambda y: K.max(y, axis=3, keepdims=True))(x)])
    return Model(inputs, layers.GlobalMaxPooling2D()(x))


@model(note="names that HDF5 and Keras 3 may not like")
def odd_names():
    inputs = Input((6,), name="input.1")
    x = layers.Dense(4, name="dense-1.x")(inputs)
    x = (
        Lambda(lambda y: y + 1, name="lambda_1/plus")(x)
        if not KERAS3
        else Lambda(lambda y: y + 1, name="lambda_1.plus")(x)
    )
    return Model(inputs, layers.Dense(2, name="Eleve_2")(x))


@model(needs="keras2", note="model.add_loss and a VAE's sampling, which is random: a refusal is right")
def vae():
    inputs = Input((6,))
    mean, log_var = layers.Dense(2)(inputs), layers.Dense(2)(inputs)
    z = Lambda(lambda a: a[0] + K.exp(a[1] / 2) * K.random_normal(shape=K.shape(a[0])))([mean, log_var])
    return Model(inputs, [mean, layers.Dense(6)(z)])


@model(data="image", note="preprocessing layers")
def preprocessing():
    module = layers if hasattr(layers, "Rescaling") else keras.layers.experimental.preprocessing
    inputs = Input((6, 6, 3))
    return Model(inputs, layers.Conv2D(2, 3)(module.Rescaling(1.0 / 127.5, offset=-1)(inputs)))


@model(note="multi-head attention, from TF 2.4 on")
def transformer():
    inputs = Input((5, 8))
    x = layers.MultiHeadAttention(2, 4)(inputs, inputs)
    x = layers.LayerNormalization()(layers.add([x, inputs]))
    return Model(inputs, Lambda(lambda y: K.mean(y, axis=1))(layers.Dense(8, activation="relu")(x)))


# Last: a policy that was ever set stands above floatx from then on


@model(note="mixed_float16 policy", needs="tf2")
def mixed_float16():
    def build():
        inputs = Input((6, 6, 3))
        x = layers.Conv2D(4, 3, activation="relu")(inputs)
        x = layers.BatchNormalization()(x)
        x = Lambda(lambda y: K.mean(y, axis=[1, 2]))(x)
        return Model(inputs, layers.Dense(3, activation="softmax", dtype="float32")(x))

    return with_policy("mixed_float16", build)
