"""Recognition of CBAM in graphs that are written in many ways: every fact of every block."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from converters.deploy.recognise import Block, recognise
from exporter import CBAM, Dialect, add_cbam, build_model, load_model, rescue
from exporter.models.cbam import ChannelAttention, SpatialAttention, cbam_module, channel_attention, spatial_attention
from exporter.models.inspection import inspect_keras
from exporter.models.recognition import dialect_of

HEIGHT, WIDTH, CHANNELS = 10, 8, 16


@dataclasses.dataclass(frozen=True)
class Spelling:
    """One way to write a block. The first half says how, the second what."""

    pooling: str = "layers"  # layers, keepdims, ops, ops_keepdims, windows, adaptive, sums, steps, flattened
    mlp: str = "dense"  # dense, conv, stacked, conv1d
    shape: str = "reshape"  # reshape, expand, index, permuted, none
    merge: str = "layers"  # layers, ops, stack
    activation: str = "layers"  # layers, ops, inside
    swapped: bool = False
    data_format: str = "channels_last"
    spatial_conv: str = "same"  # same, padded, last (channels_first only: convolved channels last)
    kind: str = "cbam"
    hidden: int = 4
    mlp_bias: tuple[bool, bool] = (True, True)
    mlp_activation: str | None = None
    channel_pools: tuple[str, ...] = ("avg", "max")
    pools: tuple[str, ...] = ("max", "avg")
    kernel: int = 7
    bias: bool = False
    norm: bool = False
    gate: str = "sigmoid"
    residual: bool = False
    order: str = "channel_spatial"

    @property
    def first(self) -> bool:
        return self.data_format == "channels_first"

    @property
    def space(self) -> tuple[int, int]:
        return (2, 3) if self.first else (1, 2)

    @property
    def axis(self) -> int:
        return 1 if self.first else 3


def _vector(x: Any, kind: str, s: Spelling) -> Any:
    first, second = s.space
    reduce = ops.mean if kind == "avg" else ops.max
    if s.pooling in ("layers", "keepdims"):
        layer = layers.GlobalAveragePooling2D if kind == "avg" else layers.GlobalMaxPooling2D
        return layer(data_format=s.data_format, keepdims=s.pooling == "keepdims")(x)
    if s.pooling == "windows":
        layer = layers.AveragePooling2D if kind == "avg" else layers.MaxPooling2D
        return layer((HEIGHT, WIDTH), data_format=s.data_format)(x)
    if s.pooling == "sums" and kind == "avg":
        return ops.sum(x, axis=s.space) / (HEIGHT * WIDTH)
    if s.pooling == "steps":
        return reduce(reduce(x, axis=second, keepdims=True), axis=first, keepdims=True)
    if s.pooling == "flattened":
        layer = layers.GlobalAveragePooling1D if kind == "avg" else layers.GlobalMaxPooling1D
        return layer()(layers.Reshape((HEIGHT * WIDTH, CHANNELS))(x))
    return reduce(x, axis=[first, second - 4], keepdims=s.pooling == "ops_keepdims")


def _small(vector: Any, s: Spelling) -> Any:
    """To the shape in which the gate is multiplied."""
    shape = (CHANNELS, 1, 1) if s.first else (1, 1, CHANNELS)
    if tuple(vector.shape[1:]) == shape:
        return vector
    if len(vector.shape) == 4:
        return ops.transpose(vector, (0, 3, 1, 2))
    if s.shape == "expand":
        return ops.expand_dims(vector, (2, 3) if s.first else (1, 2))
    if s.shape == "index":
        return vector[:, :, None, None] if s.first else vector[:, None, None]
    if s.shape == "permuted" and s.first:
        return layers.Permute((3, 1, 2))(layers.Reshape((1, 1, CHANNELS))(vector))
    return layers.Reshape(shape)(vector)


def _activate(x: Any, name: str | None, s: Spelling) -> Any:
    if name is None:
        return x
    if name == "hard_sigmoid_keras2":
        return ops.clip(0.2 * x + 0.5, 0.0, 1.0)
    if name == "hard_sigmoid" and s.merge == "ops":
        return ops.relu6(x + 3.0) / 6.0
    return getattr(ops, name)(x) if s.activation == "ops" else layers.Activation(name)(x)


def channel_gate(x: Any, s: Spelling) -> Any:
    inside = s.activation == "inside"
    pieces = [_vector(x, kind, s) for kind in s.channel_pools]
    second = s.mlp_activation if inside else None
    if s.mlp == "conv":
        layout = {"data_format": s.data_format}
        squeeze = layers.Conv2D(s.hidden, 1, activation="relu", use_bias=s.mlp_bias[0], **layout)
        excite = layers.Conv2D(CHANNELS, (1, 1), activation=second, use_bias=s.mlp_bias[1], **layout)
        pieces = [_small(piece, s) for piece in pieces]
    else:
        kind = layers.Dense if s.mlp != "conv1d" else (lambda units, **more: layers.Conv1D(units, 1, **more))
        squeeze = kind(s.hidden, activation="relu" if inside else None, use_bias=s.mlp_bias[0])
        excite = kind(CHANNELS, activation=second, use_bias=s.mlp_bias[1])
        if s.mlp == "conv1d":
            pieces = [layers.Reshape((1, CHANNELS))(piece) for piece in pieces]
    if s.mlp == "stacked":
        both = excite(ops.relu(squeeze(ops.stack(pieces, axis=1))))
        total = ops.sum(both, axis=1) if s.merge == "ops" else layers.Add()([both[:, 0], both[:, 1]])
    else:
        hidden = [squeeze(piece) for piece in pieces]
        if not inside and s.mlp != "conv":
            hidden = [_activate(piece, "relu", s) for piece in hidden]
        out = [excite(piece) for piece in hidden]
        if not inside:
            out = [_activate(piece, s.mlp_activation, s) for piece in out]
        if s.mlp_activation == "relu":  # twice is once
            out = [layers.ReLU()(piece) for piece in out]
        if s.swapped:
            out.reverse()
        if s.shape == "none" and s.pooling in ("layers", "ops"):
            out = [_small(piece, s) for piece in out]
        total = out[0] if len(out) == 1 else layers.Add()(out) if s.merge == "layers" else out[0] + out[1]
    return _small(_activate(total, s.gate, s), s)


def spatial_gate(x: Any, s: Spelling) -> Any:
    last = s.spatial_conv == "last" or not s.first
    keep = s.merge != "stack"
    maps = [(ops.mean if kind == "avg" else ops.max)(x, axis=s.axis, keepdims=keep) for kind in s.pools]
    if s.first and last and keep:
        maps = [layers.Permute((2, 3, 1))(each) for each in maps]
    axis = -1 if last else 1
    if len(maps) == 1:
        both = maps[0]
    elif s.merge == "layers":
        both = layers.Concatenate(axis=axis)(maps)
    else:
        both = ops.concatenate(maps, axis=axis) if keep else ops.stack(maps, axis=axis)
    inside = s.activation == "inside" and not s.norm and s.gate in ("sigmoid", "hard_sigmoid")
    layout = "channels_last" if last else "channels_first"
    padding = "same"
    if s.spatial_conv == "padded":
        both, padding = layers.ZeroPadding2D(s.kernel // 2, data_format=layout)(both), "valid"
    conv = layers.Conv2D(
        1,
        s.kernel,
        padding=padding,
        use_bias=s.bias,
        data_format=layout,
        activation=s.gate if inside else None,
    )
    out = conv(both)
    if s.norm:
        out = layers.BatchNormalization(axis=3 if last else 1, epsilon=1e-5)(out)
    if not inside:
        out = _activate(out, s.gate, s)
    return layers.Permute((3, 1, 2))(out) if s.first and last else out


def _times(x: Any, gate: Any, s: Spelling) -> Any:
    pair = [gate, x] if s.swapped else [x, gate]
    return layers.Multiply()(pair) if s.merge == "layers" else ops.multiply(*pair)


def attention(x: Any, s: Spelling) -> Any:
    if s.order == "parallel":
        gates = [channel_gate(x, s), spatial_gate(x, s)]
        out = layers.Multiply()([gates[0], x, gates[1]]) if s.swapped else (x * gates[0]) * gates[1]
        return x + out if s.residual else out
    made = {"channel": channel_gate, "spatial": spatial_gate}
    steps = s.order.split("_") if s.kind == "cbam" else [s.kind]
    out = x
    for step in steps:
        out = _times(out, made[step](out, s), s)
    return (layers.Add()([x, out]) if s.merge == "layers" else out + x) if s.residual else out


def net(s: Spelling, name: str = "net") -> keras.Model:
    shape = (3, HEIGHT, WIDTH) if s.first else (HEIGHT, WIDTH, 3)
    image = keras.Input(shape)
    x = layers.Conv2D(CHANNELS, 3, padding="same", activation="relu", data_format=s.data_format)(image)
    x = attention(x, s)
    return keras.Model(image, layers.Conv2D(5, 1, data_format=s.data_format)(x), name=name)


POOLINGS = ("layers", "keepdims", "ops", "ops_keepdims", "windows", "sums", "steps")
CASES: dict[str, dict[str, Any]] = {
    **{f"pooling {kind}": {"pooling": kind} for kind in (*POOLINGS, "flattened")},
    **{f"pooling {kind} first": {"pooling": kind, "data_format": "channels_first", "mlp": "conv"} for kind in POOLINGS},
    **{f"shape {kind}": {"shape": kind} for kind in ("expand", "index", "none")},
    **{
        f"shape {kind} first": {"shape": kind, "data_format": "channels_first", "pooling": "ops"}
        for kind in ("expand", "index", "permuted", "none")
    },
    "conv mlp": {"mlp": "conv"},
    "conv mlp keepdims": {"mlp": "conv", "pooling": "keepdims", "activation": "inside", "merge": "ops"},
    "conv1d mlp": {"mlp": "conv1d"},
    "stacked mlp": {"mlp": "stacked", "merge": "ops"},
    "stacked mlp, taken apart": {"mlp": "stacked"},
    **{f"activation {kind}": {"activation": kind} for kind in ("ops", "inside")},
    "inside with relu": {"activation": "inside", "mlp_activation": "relu"},
    "operations alone": {"pooling": "ops", "merge": "ops", "activation": "ops", "shape": "index"},
    "stack": {"merge": "stack", "pooling": "ops"},
    "stack first": {"merge": "stack", "data_format": "channels_first", "spatial_conv": "last"},
    "swapped": {"swapped": True},
    "swapped operations": {"swapped": True, "merge": "ops"},
    "convolved last": {"data_format": "channels_first", "spatial_conv": "last", "norm": True},
    "padded": {"spatial_conv": "padded", "kernel": 5},
    "padded first": {"spatial_conv": "padded", "data_format": "channels_first", "kernel": 3},
    **{f"kernel {size}": {"kernel": size} for size in (1, 2, 3, 4, 5)},
    "avg first": {"pools": ("avg", "max")},
    "paper": {"norm": True, "hidden": 1},
    "paper first": {"norm": True, "hidden": 1, "data_format": "channels_first"},
    "timm": {"norm": True, "hidden": 1, "mlp_bias": (False, False), "pools": ("avg", "max"), "mlp": "conv"},
    "blog": {"hidden": 8, "mlp_activation": "relu", "kernel": 3, "residual": True, "merge": "ops"},
    "spatial bias": {"bias": True, "norm": True},
    "one mlp bias": {"mlp_bias": (True, False)},
    "mlp relu": {"mlp_activation": "relu"},
    "mlp sigmoid": {"mlp_activation": "sigmoid"},
    "hard sigmoid": {"gate": "hard_sigmoid"},
    "hard sigmoid by hand": {"gate": "hard_sigmoid", "merge": "ops"},
    "hard sigmoid inside": {"gate": "hard_sigmoid", "activation": "inside"},
    "hard sigmoid of Keras 2": {"gate": "hard_sigmoid_keras2"},
    "residual": {"residual": True},
    "residual first": {"residual": True, "data_format": "channels_first"},
    "spatial first": {"order": "spatial_channel"},
    "spatial first, first": {"order": "spatial_channel", "data_format": "channels_first", "residual": True},
    "parallel": {"order": "parallel"},
    "parallel at once": {"order": "parallel", "swapped": True, "residual": True},
    "max alone": {"channel_pools": ("max",)},
    "spatial max alone": {"pools": ("max",)},
    "spatial avg alone, first": {"pools": ("avg",), "data_format": "channels_first"},
    "channel": {"kind": "channel"},
    "channel first": {"kind": "channel", "data_format": "channels_first", "mlp": "conv"},
    "channel residual": {"kind": "channel", "residual": True, "mlp_activation": "relu"},
    "channel max": {"kind": "channel", "channel_pools": ("max",)},
    "spatial": {"kind": "spatial", "norm": True},
    "spatial first format": {"kind": "spatial", "data_format": "channels_first"},
    "spatial 3x3": {"kind": "spatial", "kernel": 3, "bias": True},
}


def _expect(block: Block, s: Spelling) -> None:
    """Every fact of a block, from its spelling."""
    assert (block.kind, block.residual, block.data_format) == (s.kind, s.residual, s.data_format)
    assert block.output_format == s.data_format
    assert (block.channels, block.height, block.width) == (CHANNELS, HEIGHT, WIDTH)
    parameters = macs = 0
    assert (block.channel is not None) == (s.kind in ("cbam", "channel"))
    assert (block.spatial is not None) == (s.kind in ("cbam", "spatial"))
    if block.channel is not None:
        found = block.channel
        assert (found.hidden, found.activation, found.gate) == (s.hidden, s.mlp_activation, s.gate)
        assert (found.pools, found.biases, found.shared) == (s.channel_pools, s.mlp_bias, True)
        parameters += 2 * CHANNELS * s.hidden + s.hidden * s.mlp_bias[0] + CHANNELS * s.mlp_bias[1]
        macs += len(s.channel_pools) * 2 * CHANNELS * s.hidden
    if block.spatial is not None:
        spatial = block.spatial
        assert (spatial.pools, spatial.kernel_size, spatial.gate) == (s.pools, s.kernel, s.gate)
        assert (spatial.norm is not None, spatial.conv.bias is not None) == (s.norm, s.bias)
        parameters += len(s.pools) * s.kernel**2 + s.bias + 4 * s.norm
        macs += len(s.pools) * s.kernel**2 * HEIGHT * WIDTH
    if s.kind == "cbam":
        assert block.order == s.order
    assert (block.parameters, block.multiply_adds) == (parameters, macs)
    assert block.trainable == parameters - 2 * (s.norm and block.spatial is not None)
    assert str(block.placement) == "after ReLU, before Conv2D"


@pytest.mark.parametrize("name", CASES)
def test_a_spelling_is_recognised(name: str) -> None:
    s = Spelling(**CASES[name])
    model = net(s)
    found = recognise(model)
    assert found.lookalikes == ()
    (block,) = found.blocks
    _expect(block, s)
    assert block.input.keras is model.layers[1].output
    assert block.output.keras is model.layers[-1].input
    inner = {call.operation for call in block.calls}
    assert inner == set(model.operations) - {model.layers[0], model.layers[1], model.layers[-1]}


@pytest.mark.parametrize(
    ("name", "dialect", "differs"),
    [
        ("paper", "paper", ()),
        ("paper first", "paper", ()),
        ("timm", "timm", ()),
        ("blog", "blog", ()),
        ("pooling layers", "paper", ("ratio", "spatial_norm")),
        ("kernel 3", "paper", ("ratio", "kernel_size", "spatial_norm")),
        ("one mlp bias", "paper", ("ratio", "mlp_bias", "spatial_norm")),
        ("hard sigmoid of Keras 2", "paper", ("ratio", "spatial_norm", "gate")),
        ("spatial first", "paper", ("ratio", "spatial_norm", "order")),
        ("parallel", "paper", ("ratio", "spatial_norm", "order")),
        ("avg first", "paper", ("ratio", "pools", "spatial_norm")),
        ("max alone", "paper", ("ratio", "channel_pools", "spatial_norm")),
        ("channel", "paper", ("ratio",)),
        ("channel residual", "blog", ("ratio", "residual")),
        ("spatial", "paper", ()),
        ("spatial 3x3", "blog", ("spatial_bias",)),
    ],
)
def test_the_dialect_and_what_differs(name: str, dialect: str, differs: tuple[str, ...]) -> None:
    (block,) = recognise(net(Spelling(**CASES[name])), proved=False).blocks
    assert dialect_of(block) == (dialect, differs)


@pytest.mark.parametrize("dtype", ["float64", "mixed_float16"])
def test_other_precisions(dtype: str) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        image = keras.Input((HEIGHT, WIDTH, CHANNELS))
        model = keras.Model(image, attention(layers.ReLU()(image), Spelling(norm=True)))
    finally:
        keras.config.set_dtype_policy(before)
    assert [block.kind for block in recognise(model).blocks] == ["cbam"]


def test_models_inside_models_and_a_shared_block() -> None:
    s = Spelling(norm=True)
    inside = keras.Input((HEIGHT, WIDTH, CHANNELS))
    inner = keras.Model(inside, layers.Activation("linear", name="end")(attention(inside, s)), name="inner")
    small = keras.Sequential([keras.Input((HEIGHT, WIDTH, CHANNELS)), CBAM("timm", name="own")], name="small")
    image = keras.Input((HEIGHT, WIDTH, 3))
    x = layers.Conv2D(CHANNELS, 3, padding="same")(image)
    model = keras.Model(image, small(inner(inner(x))))
    names = [block.name for block in recognise(model).blocks]
    last = inner.layers[-2].name
    assert names == [f"inner/{last}", f"inner (call 2)/{last}", "small/own"]


def test_the_gate_may_come_from_a_model_of_its_own() -> None:
    s = Spelling()
    inside = keras.Input((HEIGHT, WIDTH, CHANNELS))
    gate = keras.Model(inside, channel_gate(inside, s), name="gate")
    image = keras.Input((HEIGHT, WIDTH, CHANNELS))
    x = layers.ReLU()(image)
    (block,) = recognise(keras.Model(image, x * gate(x))).blocks
    assert (block.kind, block.height) == ("channel", HEIGHT)
    assert {call.path.partition("/")[0] for call in block.calls} == {"gate", block.name}


def test_arguments_given_by_name() -> None:
    image = keras.Input((HEIGHT, WIDTH, CHANNELS))
    squeeze, excite = layers.Dense(4, activation="relu"), layers.Dense(CHANNELS)
    vectors = [kind(image, axis=(1, 2), keepdims=True) for kind in (ops.mean, ops.max)]
    gate = ops.sigmoid(ops.add(*(excite(inputs=squeeze(inputs=each)) for each in vectors)))
    found = recognise(keras.Model(image, ops.multiply(x1=image, x2=gate)))
    assert [block.kind for block in found.blocks] == ["channel"], found


def test_activations_called_as_functions() -> None:
    image = keras.Input((HEIGHT, WIDTH, CHANNELS))
    x = keras.activations.relu(image)
    squeeze, excite = layers.Dense(4), layers.Dense(CHANNELS)
    vectors = [kind(x, axis=(1, 2), keepdims=True) for kind in (ops.mean, ops.max)]
    gate = keras.activations.sigmoid(ops.add(*(excite(keras.activations.relu(squeeze(each))) for each in vectors)))
    (block,) = recognise(keras.Model(image, keras.activations.relu(x * gate))).blocks
    assert (block.kind, str(block.placement)) == ("channel", "after ReLU, before ReLU")


def test_a_map_that_is_transposed_between_the_gates() -> None:
    s, first = Spelling(), Spelling(data_format="channels_first")
    image = keras.Input((HEIGHT, WIDTH, 3))
    x = layers.Conv2D(CHANNELS, 3, padding="same")(image)
    y = layers.Permute((3, 1, 2))(x * channel_gate(x, s))
    z = y * spatial_gate(y, first)
    (block,) = recognise(keras.Model(image, z)).blocks
    assert (block.kind, block.data_format, block.output_format) == ("cbam", "channels_last", "channels_first")
    (block,) = recognise(keras.Model(image, ops.transpose(z, (0, 2, 3, 1)) + x)).blocks
    assert (block.residual, block.output_format) == (True, "channels_last")


def test_a_gate_of_the_transposed_map() -> None:
    image = keras.Input((HEIGHT, WIDTH, 3))
    x = layers.Conv2D(CHANNELS, 3, padding="same")(image)
    gate = spatial_gate(ops.moveaxis(x, 3, 1), Spelling(data_format="channels_first"))
    (block,) = recognise(keras.Model(image, x * ops.moveaxis(gate, 1, 3))).blocks
    assert (block.kind, block.data_format) == ("spatial", "channels_last")


def test_gates_widened_to_the_map() -> None:
    image = keras.Input((HEIGHT, WIDTH, 3))
    x = layers.Conv2D(CHANNELS, 3, padding="same")(image)
    y = x * layers.UpSampling2D((HEIGHT, WIDTH))(channel_gate(x, Spelling()))
    (block,) = recognise(keras.Model(image, y)).blocks
    assert block.kind == "channel"


def test_an_open_size() -> None:
    s = Spelling(norm=True)
    image = keras.Input((None, None, CHANNELS))
    (block,) = recognise(keras.Model(image, attention(image, s))).blocks
    assert (block.kind, block.height, block.width, block.multiply_adds) == ("cbam", None, None, None)


def test_a_chain_of_gates_is_paired_from_its_start() -> None:
    s = Spelling()
    x = image = keras.Input((HEIGHT, WIDTH, CHANNELS))
    for gate in (channel_gate, spatial_gate, channel_gate, channel_gate):
        x = x * gate(x, s)
    assert [block.kind for block in recognise(keras.Model(image, x)).blocks] == ["cbam", "channel", "channel"]


def test_a_parallel_sum_is_two_blocks_of_one_gate() -> None:
    s = Spelling()
    image = keras.Input((HEIGHT, WIDTH, CHANNELS))
    made = image * channel_gate(image, s) + image * spatial_gate(image, s)
    assert [block.kind for block in recognise(keras.Model(image, made)).blocks] == ["channel", "spatial"]


def test_our_own_layers_alone_and_as_functions() -> None:
    image = keras.Input((HEIGHT, WIDTH, CHANNELS))
    x = ChannelAttention("timm", name="ca")(layers.ReLU()(image))
    x = SpatialAttention("paper", name="sa")(x)
    x = layers.ReLU()(x)
    x = x * ChannelAttention("paper", output="gate", name="gate")(x)
    x = cbam_module(layers.ReLU()(x))
    x = channel_attention(layers.ReLU()(x))
    x = x * spatial_attention(x)
    blocks = recognise(keras.Model(image, x)).blocks
    assert [(block.kind, dialect_of(block)) for block in blocks] == [
        ("cbam", ("paper", ("mlp_bias",))),
        ("channel", ("paper", ())),
        ("cbam", ("blog", ())),
        ("cbam", ("blog", ("ratio", "residual"))),
    ]
    assert blocks[0].name == "sa"


@pytest.mark.parametrize(
    "fields",
    [
        {"shared_mlp": False},
        {"order": "parallel", "residual": True},
        {"order": "spatial_channel", "gate": "hard_sigmoid"},
        {"gate": "linear", "kernel_size": 4, "mlp_activation": "sigmoid"},
    ],
)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_every_dialect_of_our_own_is_proved(fields: dict[str, Any], data_format: str) -> None:
    image = keras.Input((HEIGHT, WIDTH, CHANNELS))
    x = CBAM(Dialect(**{"ratio": 4, **fields}), data_format=data_format, name="block")(image)
    found = recognise(keras.Model(image, x))
    assert found.lookalikes == ()
    assert dialect_of(found.blocks[0])[1] == ("ratio", *sorted(fields, key=list(Dialect.__slots__).index))


def test_a_model_rescued_from_lambdas() -> None:
    image = keras.Input((HEIGHT, WIDTH, CHANNELS))
    squeeze, excite = layers.Dense(8, activation="relu"), layers.Dense(CHANNELS, activation="relu")
    x = layers.ReLU()(image)
    pooled = [layers.Reshape((1, 1, CHANNELS))(kind()(x)) for kind in (layers.GlobalMaxPool2D, layers.GlobalAvgPool2D)]
    gate = layers.Activation("sigmoid")(layers.Add()([excite(squeeze(each)) for each in pooled]))
    y = layers.Lambda(lambda pair: pair[0] * pair[1])([x, gate])
    high = layers.Lambda(lambda t: ops.max(t, axis=3, keepdims=True))(y)
    mean = layers.Lambda(lambda t: ops.mean(t, axis=3, keepdims=True))(y)
    both = layers.Concatenate(axis=3)([high, mean])
    gate = layers.Conv2D(1, 3, padding="same", activation="sigmoid", use_bias=False)(both)
    model = keras.Model(image, layers.Add(name="end")([layers.Multiply()([y, gate]), x]))
    assert recognise(model).blocks == ()
    (block,) = recognise(rescue(model).model).blocks
    assert (block.name, block.kind, block.residual, dialect_of(block)) == ("end", "cbam", True, ("blog", ()))
    assert str(block.placement) == "after ReLU, before output"


def test_cbam_put_into_a_model_of_keras() -> None:
    plain = keras.applications.MobileNetV2(input_shape=(32, 32, 3), alpha=0.35, weights=None, classes=3)
    model = add_cbam(plain, after="block_1[0-3]_project_BN", dialect=Dialect(ratio=8))
    found = recognise(model)
    names = [f"block_{number}_project_BN_cbam" for number in range(10, 14)]
    assert [block.name for block in found.blocks] == names
    assert {dialect_of(block) for block in found.blocks} == {("paper", ("ratio",))}
    places = [str(block.placement) for block in found.blocks]
    assert places[1] == "after BatchNormalization, before residual addition"
    assert recognise(plain).blocks == ()


@pytest.mark.parametrize(("name", "count", "macs"), [("cbam-mnist", 3, 104_426), ("cbam-mobilenet-mnist", 8, None)])
def test_the_zoo(name: str, count: int, macs: int | None) -> None:
    found = inspect_keras(name, load_model(name))
    assert (len(found.blocks), found.lookalikes) == (count, ())
    assert {(block.kind, block.dialect, block.differs) for block in found.blocks} == {("cbam", "paper", ())}
    assert macs is None or sum(block.macs or 0 for block in found.blocks) == macs


@pytest.mark.parametrize(
    ("name", "count", "place"),
    [
        ("resnet18", 8, "after BatchNormalization, before residual addition"),
        ("mobilenetv1", 26, "after ReLU, before Conv2D"),
        ("small-mobilenet", 8, "after ReLU6, before Conv2D"),
    ],
)
def test_backbones(name: str, count: int, place: str) -> None:
    blocks = recognise(build_model(f"cbam-{name}", input_shape=(64, 64, 3), classes=3)).blocks
    assert (len(blocks), str(blocks[0].placement)) == (count, place)
    assert {dialect_of(block) for block in blocks} == {("paper", ())}
    assert recognise(build_model(name, input_shape=(64, 64, 3), classes=3)).blocks == ()


def test_a_graph_of_hundreds_of_calls_does_not_recurse() -> None:
    x = image = keras.Input((8, 8, 4))
    for _ in range(700):
        x = ops.relu(x)
    assert recognise(keras.Model(image, x * ops.sigmoid(image))).blocks == ()


def test_recognition_changes_nothing() -> None:
    model = net(Spelling(norm=True))
    before, calls = [np.array(w) for w in model.get_weights()], [len(op._inbound_nodes) for op in model.operations]
    recognise(model)
    assert [len(op._inbound_nodes) for op in model.operations] == calls
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
