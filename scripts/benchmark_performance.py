"""Measure what the exported model gains on a plain conversion, and what its attention costs: the table of goals.

    python scripts/benchmark_performance.py [--only small-cnn:litert-f32] [--seconds 6] [--json FILE] [--chart FOLDER]

Each model is a backbone with CBAM as people write it by hand in Keras (`SPELLINGS`), random weights, logits. Of each
come its export by cbam-export, the stock converters' files of the very same model, and its export without attention;
they take turns on one thread and on two (`exporter.benchmark`). Prints a Markdown table: the ratio to the stock
converter with its interval, the goal, the largest difference of outputs, and the attention tax before and after.
To add a model or a kind of artifact, add a row to MODELS or KINDS.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import keras
from keras import layers, ops

import exporter
from converters.artifact import Precision
from converters.errors import CbamError
from exporter.bench.result import BenchReport, Comparison, Measured, Role
from exporter.bench.statistics import Difference, Estimate
from exporter.models.cbam import CBAM
from exporter.report.bench import bench_json
from exporter.report.chart import check_chart, write_chart


@dataclasses.dataclass(frozen=True, slots=True)
class Spelling:
    """How the block is written by hand; all of it with Dense on (N, 1, 1, C).

    hidden: by the channel count. kernel: of the spatial convolution. relu_twice: behind both dense layers. residual:
    the input is added.
    """

    hidden: Callable[[int], int]
    kernel: int
    relu_twice: bool = False
    residual: bool = False


SPELLINGS: Final[Mapping[str, Spelling]] = {
    "popular": Spelling(lambda channels: max(1, channels // 8), 7),
    "blog": Spelling(lambda channels: max(1, channels // 2), 3, relu_twice=True, residual=True),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """One model: a backbone of ours, whose blocks are replaced by handwritten ones; `keep` says which are kept."""

    name: str
    backbone: str
    title: str
    keep: Callable[[str], bool] = lambda name: True


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """One kind of artifact. goals: the largest ratio to the stock converter on one thread, by model; tax: the largest
    attention tax of MobileNetV1."""

    name: str
    title: str
    format: str
    precision: Precision
    goals: Mapping[str, float]
    tax: float


MODELS: Final[Mapping[str, Model]] = {
    row.name: row
    for row in (
        Model("small-cnn", "cbam-small-cnn", "small CNN 64x64"),
        Model("mobilenetv1", "cbam-mobilenetv1", "MobileNetV1 + 13 CBAM 224", lambda name: "pointwise" in name),
        Model("resnet18", "cbam-resnet18", "ResNet-18 + CBAM 224"),
        Model("resnet50", "cbam-resnet50", "ResNet-50 + CBAM 224"),
    )
}


def _goals(*figures: float) -> Mapping[str, float]:
    return dict(zip(MODELS, figures, strict=True))


KINDS: Final[Mapping[str, Kind]] = {
    row.name: row
    for row in (
        Kind("litert-f32", "LiteRT f32", "tflite", Precision.FP32, _goals(0.70, 0.82, 0.97, 0.95), 0.25),
        Kind("litert-int8", "LiteRT int8", "tflite", Precision.INT8, _goals(0.65, 0.78, 0.95, 0.90), 0.45),
        Kind("onnxruntime-f32", "ONNX Runtime f32", "onnx", Precision.FP32, _goals(0.50, 0.85, 0.97, 0.95), 0.60),
    )
}
TAXED: Final = "mobilenetv1"
THREADS: Final = (1, 2)


def handwritten(x: Any, spelling: Spelling) -> Any:
    """CBAM as the widespread Keras code has it."""
    channels = x.shape[-1]
    # A hidden unit that never fires, as some do with random weights, makes the stock int8 file one that does not open.
    alive = {"kernel_initializer": "he_normal", "bias_initializer": "ones"}
    squeeze = layers.Dense(spelling.hidden(channels), activation="relu", **alive)
    excite = layers.Dense(channels, activation="relu" if spelling.relu_twice else None, **alive)
    vectors = []
    for pool in (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D):
        vectors.append(excite(squeeze(layers.Reshape((1, 1, channels))(pool()(x)))))
    refined = layers.Multiply()([x, layers.Activation("sigmoid")(layers.Add()(vectors))])
    pools = [ops.mean(refined, axis=3, keepdims=True), ops.max(refined, axis=3, keepdims=True)]
    convolution = layers.Conv2D(
        1, spelling.kernel, padding="same", activation="sigmoid", kernel_initializer="he_normal", use_bias=False
    )
    result = layers.Multiply()([refined, convolution(layers.Concatenate(axis=3)(pools))])
    return layers.Add()([result, x]) if spelling.residual else result


def build(model: Model, spelling: Spelling) -> Any:
    """The model, as a user would have it."""
    keras.utils.set_random_seed(0)
    ours = exporter.build_model(model.backbone, classifier_activation=None)

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(layer, CBAM):
            return layer(*args, **kwargs)
        return handwritten(args[0], spelling) if model.keep(layer.name) else args[0]

    built = keras.models.clone_model(
        ours, clone_function=lambda layer: type(layer).from_config(layer.get_config()), call_function=call
    )
    return keras.Model(built.inputs, built.outputs, name=model.name)


def rows(model: Model, kind: Kind, report: BenchReport) -> list[str]:
    """One line of the table for each number of threads."""
    by_role: dict[Role, Measured] = {}
    for measured in report.measured:
        by_role.setdefault(measured.candidate.role, measured)  # of the stock converters, the first
    ours, naive, none = (by_role[role] for role in (Role.OURS, Role.NAIVE, Role.NONE))
    lines = []
    for place, threads in enumerate(THREADS):
        found = _pair(report, ours, naive, threads)
        goal = f"{kind.goals[model.name]:.2f}" if threads == 1 else "not slower"
        verdict = _verdict(found, kind.goals[model.name]) if threads == 1 else _not_slower(found)
        taxes = [_pair(report, each, none, threads).wall for each in (naive, ours)]
        apart = "-" if ours.agreement is None else f"{ours.agreement.max_abs:.1e}"
        if ours.agreement is not None and ours.agreement.relative is not None:
            apart += f" ({ours.agreement.relative:.1e})"
        times = [f"{each.timings[place].wall.median:.4g}" for each in (none, naive, ours)]
        ratio = f"{found.wall.median:.3f} (cpu {found.cpu.median:.3f})"
        cells = [model.title, kind.title, str(threads), *times, ratio, _interval(found.wall), goal, verdict, apart]
        tax_goal = f" (goal {kind.tax:.0%})" if threads == 1 and model.name == TAXED else ""
        cells.append(f"{taxes[0].median - 1:.0%} -> {taxes[1].median - 1:.0%}{tax_goal}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _verdict(found: Comparison, goal: float) -> str:
    low, high = found.wall.low, found.wall.high
    if low is None or high is None:
        return str(found.difference)
    if high <= goal:
        return "met"
    return "not met" if low > goal else "within noise of it"


def _not_slower(found: Comparison) -> str:
    met = {Difference.FASTER: "met", Difference.SLOWER: "not met"}
    return met.get(found.difference, str(found.difference))


def _pair(report: BenchReport, first: Measured, second: Measured, threads: int) -> Comparison:
    return report.comparison(first.candidate.label, second.candidate.label, threads)


def _interval(estimate: Estimate) -> str:
    return "-" if estimate.low is None else f"{estimate.low:.3f}-{estimate.high:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cells = [f"{model}:{kind}" for model in MODELS for kind in KINDS]
    parser.add_argument("--only", action="append", choices=cells, metavar="MODEL:KIND", help=", ".join(cells))
    parser.add_argument("--spelling", choices=tuple(SPELLINGS), default="popular")
    parser.add_argument("--seconds", type=float, default=6.0, help="for each artifact and number of threads")
    parser.add_argument("--launches", type=int, default=6)
    parser.add_argument("--profile", action="store_true", help="time each block's operations too; they are in --json")
    parser.add_argument("--json", type=Path, help="write every benchmark's JSON, one object a line")
    parser.add_argument("--chart", type=Path, help="a folder for one SVG a cell")
    given = parser.parse_args()
    if given.chart is not None:
        given.chart.mkdir(parents=True, exist_ok=True)
        check_chart(given.chart / "any.svg")
    print(f"{datetime.date.today()}, CBAM spelt as {given.spelling}")
    print(
        "| model | artifact | threads | without, ms | stock, ms | ours, ms | ours / stock | interval | goal | "
        "| max abs from Keras (/ spread) | attention tax, stock -> ours |"
    )
    print("|---" * 12 + "|")
    last = None
    for model in MODELS.values():
        kinds = [kind for kind in KINDS.values() if given.only is None or f"{model.name}:{kind.name}" in given.only]
        for kind in kinds:
            asked = exporter.BenchOptions(
                against=("none", "naive"),
                formats=(kind.format,),
                precision=kind.precision,
                threads=THREADS,
                seconds=given.seconds,
                launches=given.launches,
                profile=given.profile,
            )
            try:
                built = build(model, SPELLINGS[given.spelling])
                last = exporter.benchmark(built, asked, on_step=lambda step: print(f"  {step}", file=sys.stderr))
            except CbamError as error:
                print(f"| {model.title} | {kind.title} |" + " |" * 9 + f" {error} |", flush=True)
                continue
            print("\n".join(rows(model, kind, last)), flush=True)
            if given.json is not None:
                with given.json.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps({"kind": kind.name, **bench_json(last)}) + "\n")
            if given.chart is not None:
                write_chart(last, given.chart / f"{model.name}-{kind.name}.svg")
    if last is not None:
        versions = ", ".join(f"{name} {found}" for name, found in last.versions.items() if found)
        print(f"\n{last.machine.processor}, {last.machine.cores} cores; {versions}")
        for line in last.warnings:
            print(f"warning: {line}")


if __name__ == "__main__":
    main()
