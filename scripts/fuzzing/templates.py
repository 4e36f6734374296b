"""Small real models, whose weights the cases use, and the configs of Keras 3 and Keras 2 that they are made from."""

from __future__ import annotations

import base64
import dataclasses
import json
import marshal
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fuzzing.case import Config


def code_of(text: str) -> str:
    """The bytecode of a lambda as Keras stores it; it is compiled, not run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "abc" is no callable, and more of that kind
        made = compile(text, "<fuzz>", "eval")
    code = next(each for each in made.co_consts if hasattr(each, "co_code"))  # behind its defaults
    return base64.b64encode(marshal.dumps(code)).decode()


@dataclasses.dataclass(frozen=True)
class Templates:
    """Real files whose weights the cases use, and the configs of Keras 3 and Keras 2 that they are made from."""

    folder: Path
    configs: tuple[tuple[Config, str, str], ...]  # with the file of its weights, and the Keras version

    @property
    def places(self) -> tuple[Path, ...]:
        """Where there must be nothing afterwards: temporary files, relative paths, and the canary's own."""
        return self.folder / "temporary", self.folder / "here", self.folder / "watched"

    @property
    def canary(self) -> Path:
        return self.folder / "watched" / "canary"


def make_templates(folder: Path) -> Templates:
    import keras

    layers = keras.layers
    images = keras.Input((6, 6, 3), name="image")
    x = layers.Conv2D(4, 3, name="conv")(images)
    odd = layers.Lambda(lambda t, k=2.0: t[..., :1] * k, name="odd")
    inner = keras.Sequential(
        [keras.Input((4, 4, 4)), layers.Dense(2, name="dense"), layers.Lambda(lambda t: t * 2, name="twice")],
        name="inner",
    )
    both = layers.Lambda(lambda t: t[0] + t[1], name="both")([odd(x), inner(x)])
    steps = layers.TimeDistributed(layers.Dense(3, name="step"), name="steps")(both)
    full = keras.Model(images, [steps, keras.ops.mean(inner(x), axis=-1)], name="full")
    full.compile("adam", "mse", ["mae"])
    bare = keras.Model(images, layers.Lambda(lambda t: t * 2, name="odd")(images), name="bare")
    configs = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that lambdas are stored, and HDF5 is old
        for name, model in (("full", full), ("bare", bare)):
            for suffix in ("keras", "h5"):
                model.save(folder / f"{name}.{suffix}")
            with zipfile.ZipFile(folder / f"{name}.keras") as archive:
                configs.append((json.loads(archive.read("config.json")), f"{name}.keras", "3.15.1"))
        text = json.dumps(_hdf5_config(folder / "full.h5"))
    configs.append((json.loads(text), "full.h5", "3.15.1"))
    configs += [(each, "bare.h5", "2.4.0") for each in _legacy()]
    return Templates(folder, tuple(configs))


def _hdf5_config(path: Path) -> Config:
    import h5py

    with h5py.File(path, "r") as file:
        config: Config = json.loads(file.attrs["model_config"])
    return config


def layer2(kind: str, name: str, calls: list[Any], /, **config: Any) -> Config:
    """A layer as Keras 2 wrote it; calls: the layers it is called on."""
    nodes = [[[each, 0, 0, {}] for each in (call if isinstance(call, list) else [call])] for call in calls]
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}


def input2(name: str = "image", shape: Sequence[int | None] = (None, 6, 6, 3)) -> Config:
    return layer2("InputLayer", name, [], batch_input_shape=list(shape), dtype="float32")


def model2(*layers: Config, kind: str = "Functional", name: str = "net", outputs: Sequence[str] = ()) -> Config:
    ends = [[each, 0, 0] for each in outputs or [layers[-1]["name"]]]
    begins = [[each["name"], 0, 0] for each in layers if each["class_name"] == "InputLayer"]
    inner = {"name": name, "layers": list(layers), "input_layers": begins, "output_layers": ends}
    return {"class_name": kind, "config": inner}


def lambda2(text: str, name: str = "odd", calls: Sequence[Any] = ("image",), **config: Any) -> Config:
    function = {"function": [code_of(text), None, None], "function_type": "lambda", "arguments": {}}
    return layer2("Lambda", name, list(calls), **{**function, **config})


def raw2(function: str, name: str = "raw", calls: Sequence[Any] = ("image",), /, **kwargs: Any) -> Config:
    made = layer2("TFOpLambda", name, [], function=function, trainable=True, dtype="float32")
    made["inbound_nodes"] = [[each, 0, 0, kwargs] for each in calls]
    return made


def node2(op: str, attr: Config | None = None, constants: Config | None = None, count: int = 1) -> Config:
    """A TensorFlowOpLayer of TensorFlow 1.15 to 2.3."""
    inputs = ["image"] * (count + len(constants or {}))
    definition = json.dumps({"name": "node", "op": op, "input": inputs, "attr": attr or {}})
    made = layer2("TensorFlowOpLayer", "node", [["image"] * count], node_def=definition, constants=constants or {})
    return {**made, "name": f"tf_op_layer_{op}", "config": {**made["config"], "name": f"tf_op_layer_{op}"}}


def _legacy() -> list[Config]:
    text = "lambda t: K.max(t, axis=3, keepdims=True)"
    twice = model2(input2("in"), lambda2(text, "within", ["in"]), name="twice")
    shared = {**twice, "name": "twice", "inbound_nodes": [[["image", 0, 0, {}]], [["image", 0, 0, {}]]]}
    both = layer2("Add", "both", [])
    both["inbound_nodes"] = [[["twice", 1, 0, {}], ["twice", 2, 0, {}]]]
    sliced = layer2("SlicingOpLambda", "cut", [], function="__operators__.getitem")
    spec = [{"start": None, "stop": None, "step": None}, {"start": 0, "stop": 2, "step": 1}]
    sliced["inbound_nodes"] = [["image", 0, 0, {"slice_spec": spec}]]
    chain = [input2(), lambda2(text, calls=()), layer2("ReLU", "relu", [])]
    each = {"class_name": "Lambda", "config": lambda2(text)["config"]}
    return [
        model2(input2(), lambda2(text), layer2("Activation", "last", ["odd"], activation="hard_sigmoid")),
        model2(input2(), shared, both),
        model2(input2(), raw2("math.reduce_max", axis=3, keepdims=True)),
        model2(input2(), raw2("math.add", y=["image", 0, 0]), raw2("nn.relu", "second", ["raw"])),
        model2(input2(), sliced),
        model2(input2(), node2("Max", {"keep_dims": {"b": True}}, {"1": [3]})),
        model2(input2(), node2("StridedSlice", {"begin_mask": {"i": "1"}}, {"1": [0, 1], "2": [0, 3], "3": [1, 1]})),
        {"class_name": "Sequential", "config": {"name": "s", "layers": chain}},
        {"class_name": "Sequential", "config": [
            {**each, "config": {**each["config"], "batch_input_shape": [None, 6]}},
        ]},
        model2(input2(), layer2("TimeDistributed", "steps", ["image"], layer=each)),
        model2(input2(), layer2("UpSampling2D", "up", ["image"], size=[2, 2], interpolation="bilinear")),
        model2(input2(), layer2("ThresholdedReLU", "thr", ["image"], theta={"type": "ndarray", "value": 0.5})),
        model2(
            input2("steps", (None, 5, 2)), lambda2("lambda t: t * 2", calls=["steps"]),
            layer2("LSTM", "rnn", ["odd"], units=2, recurrent_activation="hard_sigmoid", time_major=True),
        ),
    ]  # fmt: skip
