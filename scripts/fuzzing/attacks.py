"""The published ways to run code, read files or reach the network from a Keras file, and the forms that they take."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Final

from fuzzing.case import Case, Config, Draw
from fuzzing.containers import with_config
from fuzzing.templates import Templates, code_of, input2, lambda2, layer2, model2, node2, raw2


def function(module: str | None, name: str) -> Config:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def layer(kind: str, module: str = "keras.layers", /, **config: Any) -> Config:
    return {"module": module, "class_name": kind, "registered_name": None, "config": {"name": "odd", **config}}


def payload(text: str) -> Config:
    config = {"code": code_of(f"lambda x, k=None: {text}"), "defaults": [1], "closure": None}
    return {"class_name": "__lambda__", "config": config}


def attacks(canary: str) -> dict[str, tuple[Config, str]]:
    """What stands in the place of a layer, by the name of the attack, and what the refusal says (as a regex).

    canary: a path that there must not be afterwards.
    """
    shell = payload(f"__import__('os').system('touch {canary}') or x")
    opens = payload(f"open({canary!r}, 'w') and x")
    plain = payload("x * 2")
    system = {"module": "os", "class_name": "system", "config": f"touch {canary}", "registered_name": None}
    named = function("os", "system")
    evil = {**layer("Evil", "evil_module_canary"), "registered_name": "Evil"}
    switch = function("keras.config", "enable_unsafe_deserialization")
    return {
        "CVE-2024-3660": (layer("Lambda", function=shell), "__import__"),
        "CVE-2024-3660, old form": (
            lambda2("lambda x: 0", function=[shell["config"]["code"], [1], None]),
            "__import__",
        ),
        "a file is opened": (layer("Lambda", function=opens), "open"),
        "eval": (layer("Lambda", function=payload("eval('1')")), "runs code"),
        "exec": (layer("Lambda", function=payload("exec('1')")), "runs code"),
        "getattr": (layer("Lambda", function=payload("getattr(x, '__class__')")), "getattr"),
        "a dunder": (layer("Lambda", function=payload("x.__class__.__mro__")), "__class__"),
        "the name of a function": (layer("Lambda", function="system", function_type="function"), "name only"),
        "CVE-2025-1550": (system, r"os\.system"),
        "CVE-2025-1550, a function": (layer("Dense", units=2, activation=named), r"os\.system"),
        "CVE-2025-1550, an argument": (
            {**layer("Activation", activation="relu"), "inbound_nodes": [{"args": [named], "kwargs": {}}]},
            r"os\.system",
        ),
        "CVE-2025-8747": (layer("Dense", units=2, activation=function("keras.utils", "get_file")), "get_file"),
        "CVE-2025-8747, a class": (
            layer("get_file", "keras.utils", fname="x", origin="file:///etc/passwd"),
            "get_file",
        ),
        "CVE-2025-9905": (lambda2("lambda x: 0", function=[opens["config"]["code"], [1], None]), "open"),
        "CVE-2025-9906": (layer("enable_unsafe_deserialization", "keras.config"), "enable_unsafe_deserialization"),
        "CVE-2025-9906, a function": (layer("Dense", units=2, activation=switch), "enable_unsafe_deserialization"),
        "CVE-2025-12058": (layer("StringLookup", vocabulary="/etc/passwd"), "'/etc/passwd' as vocabulary"),
        "CVE-2025-12058, a URL": (layer("TextVectorization", vocabulary="http://127.0.0.1:9/"), "as vocabulary"),
        "CVE-2025-49655": (layer("TorchModuleWrapper", module="gASVAAAA"), "unpickles"),
        "a SavedModel": (layer("TFSMLayer", filepath=canary), "SavedModel from a path"),
        "a module of the attacker": (evil, "evil_module_canary"),
        "in a wrapper": (layer("TimeDistributed", layer=layer("Lambda", function=opens)), "open"),
        "in a wrapper's wrapper": (
            layer("TimeDistributed", layer=layer("TimeDistributed", layer=layer("Lambda", function=opens))),
            "open|holds a Lambda",
        ),
        "in a cell": (layer("RNN", cell=layer("Lambda", function=opens)), "open|holds a Lambda"),
        "in a pipeline": (layer("Pipeline", layers=[layer("Lambda", function=opens)]), "open|holds a Lambda"),
        "as an activation": (layer("Dense", units=2, activation=opens), "holds a Lambda"),
        "as an initializer": (layer("Dense", units=2, kernel_initializer=opens), "holds a Lambda"),
        "in arguments": (layer("Lambda", function=plain, arguments={"k": system}), "of class 'system'"),
        "a lambda in arguments": (layer("Lambda", function=plain, arguments={"k": opens}), "no plain value"),
        "in a mask": (layer("Lambda", function=plain, mask=opens), "mask"),
        "in a default": (
            layer("Lambda", function={**plain, "config": {**plain["config"], "defaults": [opens]}}),
            "no plain value",
        ),
        "in a closure": (
            layer("Lambda", function={**plain, "config": {**plain["config"], "closure": [system]}}),
            "of class 'system'",
        ),
        "io.write_file": (raw2("io.write_file", filename=canary, contents="x"), "runs code"),
        "io.read_file": (raw2("io.read_file", filename="/etc/passwd"), "runs code"),
        "py_function": (raw2("py_function", Tout="float32"), "runs code"),
        "compat.v1.py_func": (raw2("compat.v1.py_func"), "runs code"),
        "__operators__.__class__": (raw2("__operators__.__class__"), "__class__"),
        "an instance's method": ({**raw2("x"), "class_name": "InstanceMethod"}, "InstanceMethod"),
        **{
            f"op {op}": (node2(op, {"token": {"s": "cHlmdW5jXzA="}}), f"'{op}', which is not known")
            for op in ("PyFunc", "PyFuncStateless", "EagerPyFunc", "WriteFile", "ReadFile", "LoadLibrary")
        },
    }


_PLACES: Final[dict[str, Callable[[Config], Config]]] = {
    "a layer": lambda part: part,
    "a wrapper": lambda part: layer("TimeDistributed", layer=part),
    "a bidirectional wrapper": lambda part: layer("Bidirectional", layer=layer("LSTM", units=2), backward_layer=part),
    "a cell": lambda part: layer("RNN", cell=part),
    "cells": lambda part: layer("RNN", cell=layer("StackedRNNCells", cells=[layer("LSTMCell", units=2), part])),
    "an activation": lambda part: layer("Dense", units=2, activation=part),
    "a regularizer": lambda part: layer("Dense", units=2, kernel_regularizer=part),
    "a shape": lambda part: layer("Reshape", target_shape=part),
    "a policy": lambda part: layer("Dense", units=2, dtype=part),
    "a build config": lambda part: {**layer("Dense", units=2), "build_config": {"input_shape": part}},
    "an operation": lambda part: {**layer("Map", "keras.src.ops.core", f=part), "registered_name": "Map"},
    "a nested model": lambda part: layer("Sequential", "keras", layers=[layer("ReLU"), part]),
    "a nested model of Keras 2": lambda part: {**model2(input2("i"), {**part, "name": "odd"}), "name": "odd"},
    "an output shape": lambda part: lambda2("lambda x: x * 2", output_shape=part),
    "a slice": lambda part: layer("Dense", units={"class_name": "__slice__", "config": {"start": part}}),
    "a list": lambda part: layer("Dense", units=[[[part]]]),
}


def in_model(part: Config, config: Config) -> Config:
    """A model's config with this in the place of its second layer."""
    config = copy.deepcopy(config)
    layers = config["config"]["layers"]
    old = layers[1]
    nodes = part.get("inbound_nodes") or old.get("inbound_nodes", [])
    layers[1] = {**part, "name": old.get("name", "odd"), "inbound_nodes": nodes}
    return config


def of_attack(draw: Draw, templates: Templates) -> Case:
    """A published attack, mostly in another place than the one that it was published with."""
    part, _ = draw.choice(list(attacks(str(templates.canary)).values()))
    part = _PLACES[draw.choice(("a layer", *_PLACES))](part)
    config = in_model(part, draw.choice([each for each, weights, _ in templates.configs if weights == "bare.keras"]))
    if draw.randrange(4) == 0:
        key = draw.choice(("compile_config", "build_config", "dtype", "metrics", "compile_config"))
        config[key] = draw.choice((part, {"loss": part}, {"optimizer": part}, [part]))
    if draw.randrange(6) == 0:
        config["config"]["layers"].append(layer2("Dense", "last", ["odd"], units=2, kernel_initializer=part))
    suffix = draw.choice((".keras", ".h5"))
    return Case(content=with_config(templates.folder / f"bare{suffix}", config), suffix=suffix)
