"""Configs of models with generated parts: functions, raw TensorFlow operations, graph nodes, settings."""

from __future__ import annotations

from typing import Any, Final

from fuzzing.blobs import blob
from fuzzing.case import Case, Config, Draw
from fuzzing.expressions import functions, lambda_text
from fuzzing.junk import CLASSES, KEYS, NAMES, SCALARS, junk, mutate
from fuzzing.templates import Templates, code_of, input2, layer2, model2, node2, raw2


def _of_function(function: Any, draw: Draw, more: Config | None = None) -> Case:
    """A model of one Lambda, in one of the forms that Keras has used."""
    config = {"name": "odd", "function": function, **(more or {})}
    if draw.randrange(2):
        made = layer2(
            "Lambda", "odd", ["image"], function_type="lambda", **{k: v for k, v in config.items() if k != "name"}
        )
        return Case(
            model2(input2(), made), "bare.h5", draw.choice(("2.2.4", "2.2.4-tf", "2.4.0", "2.15.0", "1.2.2", ""))
        )
    sequential = {
        "module": "keras",
        "class_name": "Sequential",
        "registered_name": None,
        "config": {"name": "s", "layers": [
            {"module": "keras.layers", "class_name": "InputLayer", "registered_name": None,
             "config": {"batch_shape": [None, 6, 6, 3], "dtype": draw.choice(("float32", "int32", "float16")),
             "name": "i"}},
            {"module": "keras.layers", "class_name": "Lambda", "config": config, "registered_name": None},
        ]},
    }  # fmt: skip
    return Case(sequential, "bare.keras", "3.15.1")


def _function(code: str, draw: Draw, defaults: Any = None, closure: Any = None) -> Any:
    if draw.randrange(2):
        return [code, defaults, closure]
    return {"class_name": "__lambda__", "config": {"code": code, "defaults": defaults, "closure": closure}}


def with_code(code: str, draw: Draw) -> Case:
    """A model of one Lambda with this code, without anything beside it."""
    return _of_function(_function(code, draw), draw)


def of_expression(draw: Draw, templates: Templates) -> Case:
    return with_code(code_of(lambda_text(draw)), draw)


def of_blob(draw: Draw, templates: Templates) -> Case:
    extra: list[Any] = [None, [], [1], [x := draw.choice(SCALARS)], {"class_name": "__tuple__", "items": [x, 1]}]
    return _of_function(_function(blob(draw), draw, draw.choice(extra), draw.choice(extra)), draw)


def of_arguments(draw: Draw, templates: Templates) -> Case:
    """Values beside a Lambda's code: defaults, closure, arguments, output_shape, mask."""
    text = draw.choice(
        ("lambda x, k=1: x * k", "lambda x, **k: x * k['a']", "lambda x, *a, k=2: x + k", "lambda x, k: K.sum(x, k)")
    )
    more = {key: junk(draw) for key in ("arguments", "output_shape", "mask", "output_shape_type") if draw.randrange(2)}
    if draw.randrange(2):
        more["arguments"] = {draw.choice(("k", "a", "x", "", "mask", "training")): junk(draw)}
    if draw.randrange(3):
        more.pop("mask", None)
    return _of_function(_function(code_of(text), draw, junk(draw), junk(draw)), draw, more)


_RAW_NAMES: Final = (
    "__operators__.getitem", "__operators__.add", "__operators__.rsub", "__operators__.eq", "__operators__.neg",
    "__operators__.__class__", "io.write_file", "io.read_file", "py_function", "", ".", "..", "__class__",
    "keras.backend.eval", "compat.v1.py_func", "raw_ops.WriteFile", "keras.utils.get_file", "v1",
)  # fmt: skip
_RAW_KEYS: Final = (
    "axis", "y", "keepdims", "shape", "name", "perm", "multiples", "paddings", "dtype", "slice_spec", "size", "num",
)  # fmt: skip
_ARGUMENTS: Final[tuple[Any, ...]] = (
    ["image", 0, 0], [1, 2], [-1, 3], [1, 1, 1, 10**9], [[0, 0]] * 4, [[0, 10**9]] * 4, 10**9, -1, 0, 3, None,
    "float32", {"start": None, "stop": 2, "step": 0}, [{"start": 0, "stop": None, "step": None}], [], 0.5, 2**70, True,
)  # fmt: skip
_NODE_OPS: Final = ("PyFunc", "WriteFile", "ReadFile", "PyFuncStateless", "EagerPyFunc")
_NODE_KEYS: Final = (
    "keep_dims", "axis", "num", "num_split", "block_size", "squeeze_dims", "begin_mask", "end_mask", "shrink_axis_mask",
    "ellipsis_mask", "DstT", "equation", "mode", "adj_x", "transpose_a", "data_format", "alpha", "output_type",
)  # fmt: skip
_NODE_KINDS: Final = ("i", "f", "b", "type", "s", "list", "shape", "func")
_NODE_VALUES: Final[tuple[Any, ...]] = (
    "1", 1, "99999999999999999999", -1, True, "DT_FLOAT", "DT_STRING", "TkhXQw==", "ij,jk->ik", {"i": ["1", 2]}, None,
    [], "nan",
)  # fmt: skip


def of_raw(draw: Draw, templates: Templates) -> Case:
    """TFOpLambda: a function by name with arguments in JSON."""
    names = [each.split(".", 1)[1] for each in functions() if each.startswith(("tf.", "tf1."))]
    kwargs = {draw.choice(_RAW_KEYS): _argument(draw) for _ in range(draw.randrange(4))}
    made = raw2(draw.choice((*names, *_RAW_NAMES)), **kwargs)
    if draw.randrange(4) == 0:
        made["class_name"] = draw.choice(("SlicingOpLambda", "ClassMethod", "InstanceMethod", "InstanceProperty"))
    if draw.randrange(3) == 0:
        made["inbound_nodes"] = [["_CONSTANT_VALUE", -1, _argument(draw), kwargs]]
    if draw.randrange(3) == 0:
        made["inbound_nodes"] = [[["image", 0, 0, kwargs], ["image", 0, 0]]]
    return Case(model2(input2(), made), "bare.h5", "2.4.0")


def _argument(draw: Draw) -> Any:
    return draw.choice(_ARGUMENTS) if draw.randrange(3) else junk(draw)


def of_node(draw: Draw, templates: Templates) -> Case:
    """TensorFlowOpLayer: a graph node by its NodeDef."""
    from converters.lambdas import tfnodes

    tables = (tfnodes._BINARY, tfnodes._COMPARE, tfnodes._PLAIN, tfnodes._REDUCTIONS, tfnodes._OTHER)
    ops = [*(name for table in tables for name in table), *_NODE_OPS]
    attr = {
        draw.choice(_NODE_KEYS): {draw.choice(_NODE_KINDS): draw.choice(_NODE_VALUES)} for _ in range(draw.randrange(4))
    }
    constants = {str(draw.choice((0, 1, 2, 3, 10**9))): _argument(draw) for _ in range(draw.randrange(4))}
    return Case(model2(input2(), node2(draw.choice(ops), attr, constants, draw.randrange(1, 4))), "bare.h5", "2.2.4-tf")


def of_mutation(draw: Draw, templates: Templates) -> Case:
    config, weights, version = draw.choice(templates.configs)
    return Case(mutate(draw, config), weights, version)


_SETTINGS: Final[Config] = {
    "units": 2, "filters": 2, "kernel_size": 2, "layer": layer2("Dense", "d", [], units=2), "target_shape": [-1],
    "dims": [1, 2, 3], "activation": "relu", "n": 2, "axes": 1, "input_dim": 5, "output_dim": 2,
}  # fmt: skip


def of_junk(draw: Draw, templates: Templates) -> Case:
    """Layers of any class with settings made up."""
    layers: list[Any] = [input2()]
    for index in range(draw.randrange(1, 4)):
        settings = {draw.choice(KEYS): junk(draw, 2) for _ in range(draw.randrange(4))}
        settings |= {key: value for key, value in _SETTINGS.items() if draw.randrange(3) == 0}
        name = draw.choice(NAMES) if draw.randrange(5) == 0 else f"layer{index}"
        calls = [draw.choice([each["name"] for each in layers] + ["image"])]
        layers.append(layer2(draw.choice(CLASSES), name, calls, **settings))
    return Case(model2(*layers), "bare.h5", draw.choice(("2.4.0", "3.15.1")))
