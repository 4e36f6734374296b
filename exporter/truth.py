"""A model in float64 with the same weights: what every run of it is measured against. No TensorFlow needed."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from converters.errors import ModelError
from exporter.model_run import TWIN_ROUNDINGS
from exporter.parity.check import run_in_batches

if TYPE_CHECKING:
    from converters.calls import Call
    from converters.deploy.gate_values import GateValues
    from converters.execution import Runner

Arrays = Mapping[str, np.ndarray]

PREDICTED: Final = 128  # real samples on which lower precisions are tried

FOLDED: Final = 3
"""Other roundings of the weights that are tried beside the one to nearest: converters fold BatchNormalization into them
before they round, and of few samples the error of one rounding can be small by luck (docs/parity.md)."""


@dataclasses.dataclass(frozen=True)
class Truth:
    """The float64 twin of a model and its float32 twin, both on the CPU. Names are those of `runner`."""

    double: Any
    single: Any
    runner: Runner

    def run(self, inputs: Arrays, batch: int) -> dict[str, np.ndarray]:
        """The model in float64: arrays by input name to float64 arrays by output name."""
        from converters.execution import float64

        with float64():
            return run_in_batches(self._runner(self.double), inputs, batch)

    def noise(self, inputs: Arrays, exact: Arrays, real: int, batch: int) -> dict[str, dict[str, np.ndarray]]:
        """By level of precision and output, the largest distance from the truth of each sample.

        Lower precisions are tried on the first PREDICTED of the `real` samples at the beginning and on all behind them;
        of the other real ones the largest distance of those that were tried is taken to be theirs.
        """
        from converters.execution import float64
        from converters.rounded import half_arithmetic, half_weights, tf32_operands

        single = run_in_batches(self._runner(self.single), inputs, batch)
        levels = {"float32": distances(single, exact)}
        count = len(next(iter(inputs.values())))
        batched = all(len(value) == count for value in exact.values())
        tried = min(real, PREDICTED) if batched else real
        rows = np.r_[0:tried, real:count]
        inputs = {name: array[rows] for name, array in inputs.items()}
        part = {name: value[rows] if batched else value for name, value in exact.items()}
        with np.errstate(over="ignore", invalid="ignore"):  # half precision may overflow, which is what is asked
            scopes: list[tuple[str, Callable[[Any], contextlib.AbstractContextManager[None]]]] = [
                ("tf32", tf32_operands),
                ("fp16", half_arithmetic),
                ("fp16_weights", half_weights),
                *(("fp16_weights", functools.partial(half_weights, seed=seed)) for seed in range(FOLDED)),
            ]
            for level, scope in scopes:
                with float64(), scope(self.double):
                    found = distances(run_in_batches(self._runner(self.double), inputs, batch), part)
                for name, errors in found.items():
                    errors = _filled_up(errors, tried, real)
                    known = levels.setdefault(level, {}).get(name, errors)
                    levels[level][name] = np.maximum(known, errors)
        return levels

    def averaged(self, one: Arrays) -> int:
        """How many values the means of the model are of, all of them together, in a run on `one` call's inputs."""
        from converters.workload import means_counted

        with means_counted() as counts:
            self._runner(self.single).run(one)
        return sum(counts)

    def gates(self, inputs: Arrays) -> tuple[list[GateValues], list[str]]:
        """The gates of each CBAM block, and the names of blocks that do not compute what CBAM does."""
        from converters.deploy.gate_values import gate_values
        from converters.execution import float64

        with float64():
            try:
                return gate_values(self.double, [inputs[name] for name in self.runner.inputs])
            except ModelError:  # not functional: no blocks can be told
                return [], []

    def _runner(self, model: Any) -> Runner:
        from converters.calls import keras_call
        from converters.execution import Runner

        # A new one each time: what JAX has compiled holds the weights of before.
        return Runner(keras_call(model, {}), self.runner.inputs, self.runner.outputs, "cpu")


def make_truth(call: Call, runner: Runner, few: Arrays) -> Truth:
    """The twins of a model, tried on a few of its inputs.

    Raises:
        ModelError: it has none, or they are another model, or give NaN or infinity.
    """
    from converters.calls import first_line, keras_call
    from converters.execution import Runner, float64, narrowed, on
    from converters.twin import computes_in, twin

    if call.model is None:
        raise ModelError("a SavedModel has no float64 twin")
    count = call.own_batch or len(next(iter(few.values())))
    try:
        with float64():
            double = twin(call.model, "float64")
        with on("cpu"):
            single = twin(call.model, "float32")
        truth = Truth(double, single, runner)
        exact = truth.run(few, count)
        given = run_in_batches(runner, few, count)
        if narrowed(keras_call(double, {}), [few[name] for name in runner.inputs]):
            raise ModelError("a layer of it computes in float32 whatever its type")
        for name, value in exact.items():
            if value.shape != given[name].shape:
                raise ModelError("its float64 twin gives another shape")
            if np.isfinite(given[name]).all() and not np.isfinite(value).all():
                raise ModelError("its float64 twin gives NaN or infinity")
        if computes_in(call.model) == {"float32"}:
            with on(runner.device):
                copy = single if runner.device == "cpu" else twin(call.model, "float32")
            twice = run_in_batches(
                Runner(keras_call(copy, {}), runner.inputs, runner.outputs, runner.device), few, count
            )
            _check_alike(given, twice, runner.device)
    except ModelError:
        raise
    except Exception as error:  # layers raise many kinds for a type they do not know
        raise ModelError(f"its float64 twin does not run: {first_line(error)}") from error
    return truth


def _filled_up(errors: np.ndarray, tried: int, real: int) -> np.ndarray:
    rest = np.full(real - tried, errors[:tried].max(initial=0.0))
    return np.concatenate([errors[:tried], rest, errors[tried:]])


def distances(given: Arrays, exact: Arrays) -> dict[str, np.ndarray]:
    """By output, the largest distance in each row (axis 0), float64; infinite where what was given is not finite."""
    found = {}
    for name, value in exact.items():
        off = np.abs(given[name].astype(np.float64) - value.astype(np.float64)).reshape(len(value), -1)
        found[name] = np.where(np.isfinite(off), off, np.inf).max(1, initial=0.0)
    return found


def _check_alike(given: Arrays, copy: Arrays, device: str) -> None:
    """Rebuilt from its config in float32 the model must give what it gives; else a layer's config does not hold all of
    it, and the float64 twin is the truth of another model."""
    # A GPU's libraries may take another algorithm for the copy, of TF32's precision at worst.
    allowed = TWIN_ROUNDINGS if device == "cpu" else 2.0**-7
    for name, value in given.items():
        off = float(np.max(np.abs(value.astype(np.float64) - copy[name].astype(np.float64)), initial=0.0))
        if off > allowed * float(np.max(np.abs(value), initial=0.0)):
            raise ModelError(
                "a copy of it from its config gives other outputs: a layer's config does not hold all of it"
            )
