"""Loops and comprehensions of functions in memory: what is rescued computes the same, the rest is refused."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

from converters.lambdas.rewrite import LambdaRefusedError
from exporter import rescue

PARTS = (0.5, 2.0, -1.0)


def shared_list(t: Any) -> Any:
    out: list[Any] = []
    also = out
    out.append(t)
    out.append(t * 2)
    return ops.concatenate(also, axis=-1)


def list_in_list(t: Any) -> Any:
    inner = [t]
    outer = [inner, inner]
    inner.append(t + 1)
    return ops.concatenate(outer[1], axis=-1)


def running(t: Any) -> Any:
    total, out = t, []
    for part in PARTS:
        total = total * part + t
        out.append(total)
    return ops.concatenate(out, axis=-1)


def skipping(t: Any) -> Any:
    out = []
    for index in range(6):
        if index % 2:
            continue
        out.append(t[:, index : index + 1] * index)
    return ops.concatenate(out, axis=1)


def last_of(t: Any) -> Any:
    out = [t]
    for _ in range(3):
        out.append(out[-1] * 2 + 1)
    return out[-1] - out[0]


def late_binding(t: Any) -> Any:
    functions = [lambda x: x * part for part in PARTS]  # noqa: B023 - all of them see the last part
    return functions[0](t)


def iterator_twice(t: Any) -> Any:
    pairs = zip(PARTS, range(3), strict=False)
    first = sum([a * b for a, b in pairs])
    return t * first + len(list(pairs))


def grown_while_used(t: Any) -> Any:
    out = [t]
    made = [ops.add(out[0], 1.0)]
    out += made
    return ops.concatenate(out, axis=-1)


def guarded(t: Any) -> Any:
    if t.shape[-1] == 7:
        raise ValueError
    return t + 1


@pytest.mark.parametrize(
    ("function", "must"),
    [
        (lambda t: ops.concatenate([t * part for part in PARTS], axis=-1), True),
        (lambda t: ops.stack([t[:, i] for i in range(6) if i != 2], axis=1), True),
        (lambda t: sum(t * part for part in PARTS), True),
        (lambda t: sum([a * b for a in PARTS for b in (1.0, 2.0)]) * t, False),
        (lambda t: ops.concatenate([x * w for x, w in zip([t, t + 1], PARTS, strict=False)], axis=-1), False),
        (lambda t: max([abs(part) for part in PARTS]) * t, True),
        (running, True),
        (skipping, True),
        (last_of, True),
        (guarded, True),
        (shared_list, False),
        (list_in_list, False),
        (late_binding, False),
        (iterator_twice, False),
        (grown_while_used, False),
    ],
)
def test_a_loop_computes_the_same_or_is_refused(function: Any, must: bool) -> None:
    inputs = keras.Input((6, 4))
    values = np.random.default_rng(0).normal(size=(3, 6, 4)).astype("float32")
    expected = np.asarray(function(values))
    model = keras.Model(inputs, layers.Lambda(function, output_shape=expected.shape[1:], name="odd")(inputs))
    try:
        made = rescue(model)
    except LambdaRefusedError:
        assert not must
        return
    np.testing.assert_allclose(np.asarray(made.model(values)), expected, rtol=1e-6, atol=1e-6)
