"""Configs made to harm: too deep, too wide, in a circle, of the wrong kinds, asking for more than there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pytest
from fuzzing.case import Case
from fuzzing.junk import NAMES
from fuzzing.templates import input2, lambda2, layer2, model2, node2, raw2
from keras.src.backend.common import global_state

from converters.errors import ModelError
from converters.lambdas.archive import read_archive
from converters.lambdas.limits import Limits
from converters.lambdas.rewrite import LambdaRefusedError
from exporter import rescue


def judge(runner: Any, config: dict[str, Any], weights: str = "bare.h5", version: str = "2.4.0") -> str:
    """The error of a rescue, or nothing; all that no case may do fails."""
    outcome = runner.run(Case(config, weights, version))
    assert not outcome.fault, outcome
    message: str = outcome.message
    return message


def test_many_values_in_little_text(runner: Any, tmp_path: Path) -> None:
    begin, end = '{"class_name": "Sequential", "config": {"name": "s", "layers": [', "]}}"
    for text in (",".join(["[]"] * 5_000_000), ",".join(["1"] * 5_000_000), '"' + "y" * 20_000_000 + '"'):
        outcome = runner.run(Case({}, text=begin + text + end))
        assert not outcome.fault, outcome
        assert outcome.kind == "ModelError"
    path = runner.write(Case({"class_name": "Sequential", "config": [1, 2, 3]}, "bare.keras"))
    with pytest.raises(ModelError, match="at most 3 are read"):
        read_archive(path, Limits(values=3))


def test_models_in_models_and_layers_called_again(runner: Any) -> None:
    last = "image"
    doubled = [input2()]
    for index in range(60):
        doubled.append(lambda2("lambda x: x[0] + x[1]", f"odd{index}", [[last, last]]))
        last = f"odd{index}"
    assert not judge(runner, model2(*doubled))

    inner = model2(input2("i0"), lambda2("lambda x: x * 2", calls=["i0"]), name="m0")
    for index in range(1, 30):  # each holds the one before it, and calls it twice
        name = f"m{index - 1}"
        twice = {**inner, "name": name, "inbound_nodes": [[[f"i{index}", 0, 0, {}]], [[name, 1, 0, {}]]]}
        inner = model2(input2(f"i{index}"), twice, name=f"m{index}")
        inner["config"]["output_layers"] = [[name, 2, 0]]
    assert not judge(runner, inner)

    nested: dict[str, Any] = {"class_name": "Sequential", "config": [input2(), lambda2("lambda x: x * 2", calls=())]}
    for _ in range(60):
        nested = {"class_name": "Sequential", "config": [nested]}
    assert not judge(runner, nested)
    for _ in range(60):
        nested = {"class_name": "Sequential", "config": [nested]}
    assert "nested deeper" in judge(runner, nested)


def test_more_layers_in_a_row_than_keras_can_build(runner: Any) -> None:
    row = [layer2("ReLU", f"r{index}", [f"r{index - 1}" if index else "image"]) for index in range(1100)]
    assert "than Keras can build" in judge(runner, model2(input2(), *row))


def test_circles_and_calls_that_there_are_not(runner: Any) -> None:
    two = [lambda2("lambda x: x", "one", ["two"]), lambda2("lambda x: x", "two", ["one"])]
    assert "in a circle" in judge(runner, model2(input2(), *two))
    assert "in a circle" in judge(runner, model2(input2(), lambda2("lambda x: x", calls=["odd"])))
    for place in ([0, -1], [-1, 0], [10**9, 0], [0, 10**9], [2**70, 2**70], ["0", 0], [0.5, 0], [None, 0], [True, 0]):
        part = lambda2("lambda x: x")
        part["inbound_nodes"] = [[["image", *place, {}]]]
        judge(runner, model2(input2(), part))
    for history in (["image", "a", 0], ["image", {}, 0], ["image", None, 0], [[], 0, 0], ["image", 0]):
        part = lambda2("lambda x: x")
        tensor = {"class_name": "__keras_tensor__", "config": {"keras_history": history}}
        part["inbound_nodes"] = [{"args": [tensor], "kwargs": {}}]
        assert judge(runner, model2(input2(), part))


def test_names_made_to_mislead(runner: Any) -> None:
    for name in NAMES:
        judge(runner, model2(input2(), lambda2("lambda x: undefined", name)))
        judge(runner, model2(input2(), lambda2("lambda x: x * 2", name)))
        judge(runner, model2(input2(name), lambda2("lambda x: x * 2", calls=[name])))
        judge(runner, model2(input2(), raw2(name)))


def test_input_shapes_that_are_none(runner: Any) -> None:
    for size in ("3", 3.0, -1, [6], {"a": 1}, float("nan"), 2**40, True, "a\nb"):
        assert "the input shape" in judge(runner, model2(input2(shape=(None, 6, size)), lambda2("lambda x: x")))
    broken = input2()
    for dtype in ("Merge", {"class_name": "x"}, [], 7, "string"):
        broken["config"]["dtype"] = dtype
        judge(runner, model2(broken, lambda2("lambda x: x")))
    broken["config"] = [broken["config"]]
    assert "has no shape" in judge(runner, model2(broken, lambda2("lambda x: x")))


def test_parts_of_the_wrong_kind(runner: Any) -> None:
    odd = lambda2("lambda x, k=1: x * k")
    code = odd["config"]["function"][0]
    for function in (3, [], [code], [code, 5, None], [code, None, 5], [code, [1, 2, 3], None], {"class_name": "x"}):
        odd["config"]["function"] = function
        assert judge(runner, model2(input2(), odd))
    for arguments in (5, [1], "k", {"k": {"class_name": "__tuple__", "items": 5}}, {"x": 1}, {"": 1}):
        assert judge(runner, model2(input2(), lambda2("lambda x, k=1: x * k", arguments=arguments)))
    for config in ([], ["x"], [{"name": "odd"}]):
        assert judge(runner, model2(input2(), {**odd, "config": config}))
        assert judge(runner, model2(input2(), {**raw2("nn.relu"), "config": config}))
    for value in ({"i": "nan"}, {"i": []}, {"f": None}, {"f": "x"}, {"list": {"i": ["x"]}}):
        assert judge(runner, model2(input2(), node2("ArgMax", {"axis": value}, {"1": 3})))


def test_huge_layers_take_no_memory_and_leave_none_to_be_taken(runner: Any) -> None:
    huge = [layer2("Dense", "d", ["odd"], units=10**6), layer2("Dense", "e", ["d"], units=10**6)]
    assert "asks for" in judge(runner, model2(input2(), lambda2("lambda x: x"), *huge))
    assert "undefined" in judge(runner, model2(input2(), lambda2("lambda x: undefined"), huge[0] | {
        "inbound_nodes": [[["image", 0, 0, {}]]]}, huge[1]))  # fmt: skip
    assert not global_state.get_global_attribute("uninitialized_variables")
    steps = [input2("steps", (8, 5, 2)), lambda2("lambda x: x", calls=["steps"])]
    rnn = layer2("LSTM", "d", ["odd"], units=2, stateful=True)
    assert "asks for" in judge(runner, model2(*steps, rnn, huge[1]))  # a stateful layer is built in another way
    steps[0]["config"]["batch_input_shape"][0] = 2**30
    assert "states" in judge(runner, model2(*steps, rnn))


def test_a_path_does_not_lead_around_the_size_check(runner: Any, tmp_path: Path) -> None:
    """The words by which Keras tells of a variable in the wrong place may stand in a file's name."""
    huge = [layer2("Dense", "d", ["odd"], units=10**6), layer2("Dense", "e", ["d"], units=10**6)]
    path = runner.write(Case(model2(input2(), lambda2("lambda x: x"), *huge), "bare.keras"))
    path = path.rename(tmp_path / "stateless scope.keras")
    with pytest.raises(ModelError, match="asks for"):
        rescue(path)


def test_a_refusal_leaves_the_callers_settings(runner: Any) -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        with pytest.raises(LambdaRefusedError):
            rescue(runner.write(Case(model2(input2(), lambda2("lambda x: undefined")), "bare.keras")))
        assert keras.config.dtype_policy().name == "mixed_float16"
    finally:
        keras.config.set_dtype_policy("float32")


def test_many_refusals_make_a_short_message(runner: Any) -> None:
    parts = [lambda2("lambda x: undefined", f"odd{index}") for index in range(500)]
    assert "and 492 more" in judge(runner, model2(input2(), *parts))
