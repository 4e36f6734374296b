"""Expressions that blow up: each is refused before it takes time or memory."""

from __future__ import annotations

import re
import time
from typing import Any

import keras
import pytest
from fuzzing.case import Case
from fuzzing.templates import input2, lambda2, model2

from converters.errors import ModelError, OptionError
from converters.lambdas.builder import Builder
from converters.lambdas.interpret import evaluate
from converters.lambdas.stored import from_source
from converters.lambdas.values import Era, Tensor, describe


def judge(runner: Any, config: dict[str, Any], weights: str = "bare.h5", version: str = "2.4.0") -> str:
    """The error of a rescue, or nothing; all that no case may do fails."""
    outcome = runner.run(Case(config, weights, version))
    assert not outcome.fault, outcome
    message: str = outcome.message
    return message


def judge_text(runner: Any, text: str) -> str:
    return judge(runner, model2(input2(), lambda2(f"lambda x: {text}")))


def chain(first: str, step: str, times: int) -> str:
    for _ in range(times):
        first = f"(lambda q: {step})({first})"
    return first


BIG = "10**9"
EXPLOSIONS = {
    "a function of itself": ("(lambda f: f(f))(lambda f: f(f))", "deep"),
    "two of itself": ("(lambda f: f(f, 0))(lambda f, n: [f(f, n), f(f, n)])", "deep|steps"),
    "a text doubled": (chain("'abcdefgh'", "q + q + q + q", 19), "MiB"),
    "a list doubled": (chain("[1] * 1000", "q + q + q + q", 19), "MiB"),
    "a number squared": (chain("7", "q * q", 19), "no tensor can hold"),
    "a power of a power": (chain("7", "q ** q", 5), "bits"),
    "an array doubled": (chain("np.ones((2048, 2048))", "q + q", 19), "MiB"),
    "an array negated": (chain("np.ones((2048, 2048))", "-q", 19), "MiB"),
    "an array squared": (chain("np.ones((2048, 2048))", "q @ q", 19), "takes too long"),
    "lists of one list": ("np.array([[[1] * 2000] * 2000] * 2000)", "more than 1048576 items"),
    "lists of lists": (chain("[[1]]", "[q] * 1000", 9), "MiB|items|a list"),
    "lists compared": ("[[[1] * 2000] * 2000] * 2000 == [[[1] * 2000] * 2000] * 2000", "items"),
    "lists summed": ("sum([[1] * 80] * 50000, [])", "MiB"),
    "arrays summed": ("sum([np.ones((2000, 2000))] * 1000)", "MiB"),
    "lists in zip": ("zip(*[range(50000)] * 1000)", "MiB"),
    "ranges in a list": ("[range(50000) for q in range(50000)]", "MiB|steps"),
    "all of a range": (f"range({BIG})", "range"),
    "many arguments": ("(lambda *a: a)(*[x] * 4000000)", "MiB"),
    "joined often": (f"K.concatenate([x] * {BIG})", "larger than"),
    "joined": ("tf.stack([x] * 100000)", "MiB"),
    "operations without end": ("[x * i for i in range(3000)]", "operations"),
    "small constants without end": ("[K.one_hot([1], 2) for i in range(12000)]", "MiB|steps"),
    "zeros": (f"np.zeros(({BIG}, {BIG})) + x", "larger than"),
    "ones": (f"K.ones(({BIG},))", "larger than"),
    "eye": ("tf.eye(40000)", "larger than"),
    "linspace": (f"tf.linspace(0., 1., {BIG})", "larger than"),
    "a finer range": ("np.arange(0, 1, 1e-12)", "larger than"),
    "one_hot": ("tf.one_hot([1, 2, 3], 100000000)", "larger than"),
    "repeated": (f"np.repeat(np.ones(1000), {BIG})", "larger than"),
    "tiled": (f"tf.tile(np.ones(2), [{BIG}])", "larger than"),
    "padded": (f"tf.pad(np.ones(3), [[0, {BIG}]])", "larger than"),
    "resized": (
        f"tf.image.resize(np.ones((1, 6, 6, 3)), [{BIG}, {BIG}])",
        "larger than|too large|elements|not possible",
    ),
    "split": (f"tf.split(x, {BIG}, axis=-1)", "splits"),
    "unstacked": (f"tf.unstack(x, {BIG})", "takes"),
    "einsum": ("tf.einsum('i,j->ij', np.ones(100000), np.ones(100000))", "too long|larger than"),
    "an outer product": ("np.ones((100000, 1)) @ np.ones((1, 100000))", "too long|larger than"),
    "broadcast": ("np.ones((100000, 1)) * np.ones(100000)", "larger than"),
    "a convolution": ("tf.nn.conv2d(np.ones((1, 99, 99, 4)), np.ones((90, 90, 4, 4)), 1, 'SAME')", "too long"),
    "many windows": (
        "[tf.nn.max_pool2d(np.ones((1, 100, 100, 1)), 100, 1, 'SAME') for i in range(1000)]",
        "too long",
    ),
    "a norm": ("ops.norm(np.ones((2000, 2000)), 'nuc')", "too long"),
    "many axes": ("np.ones([1] * 70)", "dimension|axes"),
    "many letters": (f"tf.einsum('{'abcdefghijklmnop' * 4}', x)", "not possible|einsum"),
    "a shift": (f"1 << {BIG}", "bits"),
    "no step": ("[1, 2][::0]", "zero"),
    "an array reshaped": ("np.ones(3).reshape(2, 10**9)", "reshape"),
    "images without axes": ("tf.image.rgb_to_grayscale(tf.constant(1.))", "channels"),
}


@pytest.mark.parametrize("name", EXPLOSIONS)
def test_expressions_that_blow_up(runner: Any, name: str) -> None:
    text, said = EXPLOSIONS[name]
    message = judge_text(runner, text)
    assert re.search(said, message), message


def test_what_costs_nothing_may_be_huge(runner: Any) -> None:
    """A shape takes no memory until the model runs."""
    for text in (f"tf.tile(x, [1, 1, 1, {BIG}])", chain("x", "q + q", 19), "tf.pad(x, [[10**5, 10**5]] * 4)"):
        assert not judge_text(runner, text)


def test_the_lambdas_of_a_model_share_their_limits(runner: Any) -> None:
    """One of these alone is let through."""
    parts = [lambda2("lambda x: x + np.sum(np.ones((2000, 1000)))", f"odd{index}") for index in range(40)]
    assert not judge(runner, model2(input2(), parts[0]))
    assert "the constants of the Lambdas take more than" in judge(runner, model2(input2(), *parts))


SHARED = {
    "sums": ("x = x + x", "a tensor of shape (?, 4, 4)"),
    "tuples of tuples": ("x = (x, x)", "a tuple"),
    "lists of lists": ("x = [x, x]", "a list"),
    "constant tuples": ("y = (y, y)", "its code takes more than 20000 steps"),
    "an index of tuples": ("k = (k, k)", "it makes lists of more than 1048576 items"),
    "slices": ("k = [k, k][0:1]", "it indexes with a list"),
    "choices": ("x = x if len(k) > 2 else [x, x]", "a list"),
    "functions": ("f = lambda q, g=(f, f): q", "a tensor of shape (?, 4, 4)"),
}


@pytest.mark.parametrize("name", SHARED)
def test_values_used_twice_line_after_line(name: str) -> None:
    """Each would double with every line if it were written out or gone through."""
    step, said = SHARED[name]
    lines = ["y = f = 1", "k = [len(x.shape), 0]", *[step] * 45, "return x[k]" if step.startswith("k") else "return x"]
    text = "def f(x):\n" + "".join(f"    {each}\n" for each in lines)
    start = time.perf_counter()
    try:
        stored = from_source(text, {})
        assert len(stored.source) < 20_000
        message = describe(evaluate(stored.function, Tensor(keras.Input((4, 4)), "x"), Builder(Era(2, 2))))
    except (ModelError, OptionError) as error:
        message = str(error)
    assert said in message
    assert time.perf_counter() - start < 10
