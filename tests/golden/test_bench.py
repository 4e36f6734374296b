"""`cbam bench` as others build on it: keys of --json, the table, the chart; what it refuses. No time is asserted."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from rich.console import Console

from converters.artifact import Artifact, Precision
from converters.errors import ConversionError, ModelError, OptionError
from exporter import CBAM, BenchOptions, ExportOptions, add_cbam, benchmark, build_model, cli_bench, export
from exporter.bench.files import open_artifact
from exporter.bench.naive import NAIVE, make_naive
from exporter.bench.options import AGAINST
from exporter.bench.result import BenchReport, Role
from exporter.bench.statistics import Difference
from exporter.bench.timing import TIMERS
from exporter.report.bench import bench_json, print_bench
from exporter.report.chart import check_chart, write_chart

Cli = Callable[..., subprocess.CompletedProcess[str]]

ARTIFACT = {
    *("name", "model", "role", "made_by", "runtime", "format", "precision", "sha256", "bytes", "timings", "structure"),
    *("blocks", "agreement"),
}
TIMING = {
    *("threads", "median_ms", "low", "high", "confidence", "quartiles_ms", "cpu_ms", "rounds", "inferences"),
    *("peak_bytes", "model_bytes"),
}
COMPARISON = {"artifact", "against", "threads", "ratio", "low", "high", "confidence", "cpu_ratio", "difference"}


def small(dialect: str = "paper") -> Any:
    keras.utils.set_random_seed(1)
    plain = build_model("small-cnn", input_shape=(24, 24, 3), classes=5, classifier_activation=None, widths=(16, 32))
    return add_cbam(plain, after="*_relu", name="little", dialect=dialect)


@pytest.fixture(scope="module")
def report() -> BenchReport:
    options = BenchOptions(("naive", "none"), ("tflite",), threads=(1,), seconds=0.02, launches=2)
    return benchmark(small(), options)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    folder = tmp_path_factory.mktemp("files")
    made = export(small(), ExportOptions(formats=("tflite", "onnx"), output=folder, verify=False))
    return {artifact.format: artifact for artifact in made.artifacts}


def test_candidates_stand_in_order_and_compute_the_same(report: BenchReport) -> None:
    assert [each.candidate.label for each in report.measured] == [
        "little tflite, without attention",
        "little tflite, TFLiteConverter",
        "little tflite, Keras export",
        "little tflite, cbam-export",
    ]
    check_candidates(report)


@pytest.mark.slow
def test_so_do_those_of_onnx() -> None:
    options = BenchOptions(("none", "naive"), ("onnx",), threads=(1,), seconds=0.02, launches=1)
    found = benchmark(small(), options)
    made = ["without attention", "tf2onnx", "Keras export", "cbam-export"]
    assert [each.candidate.label for each in found.measured] == [f"little onnx, {each}" for each in made]
    check_candidates(found)


@pytest.mark.slow
def test_a_format_that_no_stock_converter_can_write_is_told_and_the_others_are_compared() -> None:
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(16, 3, activation="gelu")(image)  # tf2onnx writes an operation that ONNX has not
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(CBAM("timm")(x)), name="gelu")
    found = benchmark(model, BenchOptions(("naive",), threads=(1,), seconds=0.02, launches=1))
    roles = [(each.candidate.artifact.format, each.candidate.role) for each in found.measured]
    assert roles == [("tflite", Role.NAIVE), ("tflite", Role.NAIVE), ("tflite", Role.OURS), ("onnx", Role.OURS)]
    assert [note.split(": ")[0] for note in found.notes] == ["gelu onnx, tf2onnx", "gelu onnx, Keras export"]
    with pytest.raises(ConversionError, match="no stock converter makes a file that runs; gelu onnx, Keras export"):
        benchmark(model, BenchOptions(("naive",), ("onnx",), threads=(1,), seconds=0.02, launches=1))


def check_candidates(report: BenchReport) -> None:
    assert report.notes == ()
    for each in report.measured:
        assert each.runtime == {"tflite": "litert", "onnx": "onnxruntime"}[each.candidate.artifact.format]
        if each.candidate.role is Role.NONE:
            assert each.agreement is None
            assert each.structure.blocks == ()
        else:
            assert each.agreement is not None
            assert each.agreement.relative is not None
            assert each.agreement.relative < 1e-4
            assert each.agreement.reference.startswith("Keras ")
            assert each.structure.blocks is not None
            assert [block.channels for block in each.structure.blocks] == [16, 32]


def test_every_figure_of_a_timing_is_there(report: BenchReport) -> None:
    for each in report.measured:
        (timing,) = each.timings
        assert timing.rounds >= 2 * 3
        assert timing.inferences >= timing.rounds
        assert timing.quartiles[0] <= timing.quartiles[1]
        assert timing.wall.median > 0 < timing.cpu.median
        assert timing.wall.low is None  # two launches
        assert timing.peak_bytes > timing.model_bytes > 0
    count = len(report.measured)
    assert len(report.comparisons) == count * (count - 1) // 2
    assert {each.difference for each in report.comparisons} == {Difference.TOO_FEW}


def test_the_keys_of_json(report: BenchReport) -> None:
    found = json.loads(json.dumps(bench_json(report), allow_nan=False))
    assert found["schema"] == "cbam-export/1"
    assert found.keys() == {
        *("schema", "machine", "versions", "seconds", "launches", "artifacts", "comparisons", "warnings", "notes"),
    }
    assert found["machine"].keys() == {"processor", "cores", "load", "governor", "other_cores"}
    for artifact in found["artifacts"]:
        assert artifact.keys() == ARTIFACT
        assert all(timing.keys() == TIMING for timing in artifact["timings"])
        assert artifact["structure"].keys() == {"operations", "partitions", "undelegated", "reorders"}
        for block in artifact["blocks"]:
            assert block.keys() == {
                *("name", "kind", "channels", "height", "width", "microseconds", "fused_microseconds", "operations")
            }
    assert all(comparison.keys() == COMPARISON for comparison in found["comparisons"])


@pytest.mark.parametrize("width", [60, 120, 200])
def test_no_figure_of_the_table_is_cut_at_any_width(report: BenchReport, width: int) -> None:
    stream = io.StringIO()
    print_bench(Console(file=stream, width=width, highlight=False), report)
    text = stream.getvalue()
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    for each in report.measured:
        assert f"{each.timings[0].wall.median:.4g}" in text
        assert f"{each.candidate.artifact.size:,}" in text
    assert "not judged: too few launches" in text
    assert "attention costs" in text
    assert "TFLiteConverter / without attention, 1 thread" in text


def test_the_chart_is_drawn_and_equal_for_equal_figures(report: BenchReport, tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg", "one.png"):
        write_chart(report, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert (tmp_path / "one.svg").read_text().lstrip().startswith("<?xml")
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")


def test_ready_files_stand_side_by_side_with_or_without_sidecar(
    files: dict[str, Artifact], tmp_path: Path, run_cli: Cli
) -> None:
    path = files["tflite"].path
    (tmp_path / "copy.tflite").write_bytes(path.read_bytes())
    ran = run_cli(
        *("bench", path, "copy.tflite", "--threads", "1", "--seconds", "0.02", "--json"),
        *("--chart", "times.svg", "--no-profile"),
        extras=("matplotlib",),
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert [each["role"] for each in found["artifacts"]] == ["given", "given"]
    assert [each["name"] for each in found["artifacts"]] == ["little.tflite", "copy.tflite"]
    assert [each["blocks"] for each in found["artifacts"]] == [None, None]
    assert found["artifacts"][1]["agreement"]["max_abs"] == 0
    (comparison,) = found["comparisons"]
    assert comparison["low"] <= comparison["ratio"] <= comparison["high"]
    assert comparison["difference"] in ("faster", "slower", "no difference resolved")
    assert comparison["confidence"] == 1 - 2 / 64
    assert found["launches"] == 6
    assert "copy.tflite / little.tflite, 1 thread" in ran.stderr
    assert (tmp_path / "times.svg").is_file()


@pytest.mark.slow
def test_int8_is_exported_and_timed_beside_the_model_without_attention() -> None:
    asked = BenchOptions(
        against=("none",), formats=("tflite",), precision=Precision.INT8, threads=(1,), seconds=0.02, launches=1
    )
    found = benchmark(small(), asked)
    assert [each.candidate.role for each in found.measured] == [Role.NONE, Role.OURS]
    artifacts = [each.candidate.artifact for each in found.measured]
    assert {artifact.precision for artifact in artifacts} == {Precision.INT8}
    assert {artifact.inputs[0].dtype for artifact in artifacts} == {"float32"}
    assert found.measured[1].agreement is not None


@pytest.mark.slow
def test_a_stock_int8_file_is_timed_or_its_refusal_is_told(files: dict[str, Artifact], tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((8, 24, 24, 3), np.float32)
    (way,) = NAIVE["tflite", Precision.INT8]
    quick = BenchOptions(threads=(1,), seconds=0.02, launches=1)
    path = make_naive(way, small("blog"), [images], tmp_path / "int8.tflite")
    found = benchmark([files["tflite"], path], quick)
    assert [each.candidate.artifact.precision for each in found.measured] == [Precision.FP32, Precision.INT8]
    second = found.measured[1]
    assert second.agreement is not None  # beside the first file, another dialect: it only has to be told
    assert second.structure.blocks is not None
    assert [block.channels for block in second.structure.blocks if block.kind == "cbam"] == [16, 32]
    # A gamma of 0 makes the spatial gate constant; the stock converter writes a file that XNNPACK does not open.
    path = make_naive(way, small("paper"), [images], tmp_path / "dead.tflite")
    with pytest.raises(ConversionError, match="LiteRT refuses it: failed to create XNNPACK runtime"):
        benchmark(path, quick)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["absent.tflite"], 2, "absent.tflite: no such file"),
        (["broken.tflite"], 3, "broken.tflite: LiteRT refuses it"),
        (["broken.onnx"], 2, "broken.onnx: is not an ONNX file"),
        (["notes.txt"], 2, "notes.txt"),
        (["cbam-mnits"], 2, "did you mean 'cbam-mnist'"),
        (["--against", "naiv"], 2, "did you mean 'naive'"),
        (["-f", "saved_model"], 2, "unknown name 'saved_model'"),
        (["--threads", "0"], 2, "'0' is not numbers of at least 1 or 'all'"),
        (["--seconds", "0"], 2, "--seconds must be above 0"),
        (["--launches", "0"], 2, "--launches must be at least 1"),
        (["--chart", "times.gif"], 2, "a chart is written as .svg or .png"),
        (["--chart", "nowhere/times.svg"], 2, "there is no folder nowhere"),
    ],
)
def test_nonsense_is_refused_in_one_line(
    tmp_path: Path, run_cli: Cli, arguments: list[str], code: int, message: str
) -> None:
    for name in ("broken.tflite", "broken.onnx", "notes.txt"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
    ran = run_cli("bench", *arguments)
    assert ran.returncode == code, ran.stderr
    assert ran.stdout == ""
    (line,) = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert message in line


def test_a_stock_int8_file_is_int8_however_many_sizes_it_computes(tmp_path: Path) -> None:
    x = image = keras.Input((8, 8, 4))
    for _ in range(3):
        gate = keras.layers.Reshape((1, 1, 4))(keras.layers.GlobalAveragePooling2D()(x))
        x = x * keras.layers.Dense(4, activation="sigmoid")(gate)
    images = np.random.default_rng(0).uniform(size=(4, 8, 8, 4)).astype(np.float32)
    (way,) = NAIVE["tflite", Precision.INT8]
    path = make_naive(way, keras.Model(image, x), [images], tmp_path / "int8.tflite")
    assert open_artifact(path).precision is Precision.INT8


def test_what_the_command_offers_is_what_there_is() -> None:
    assert tuple(TIMERS) == cli_bench.TIMED
    assert cli_bench.AGAINST == AGAINST


def test_what_cannot_be_compared_is_refused(tmp_path: Path, files: dict[str, Artifact]) -> None:
    quick = BenchOptions(launches=1, seconds=0.01, threads=(1,), profile=False)
    pair = export(small(), ExportOptions(formats=("tflite",), batch=2, output=tmp_path, verify=False))
    with pytest.raises(OptionError, match="different batch sizes cannot be compared"):
        benchmark([files["tflite"], *pair.artifacts], quick)
    with pytest.raises(ModelError, match="no attention block that is recognised"):
        benchmark(build_model("small-cnn", input_shape=(16, 16, 3)), BenchOptions(against=("none",)))
    with pytest.raises(OptionError, match="nothing to time"):
        benchmark([], quick)
    image = keras.Input((3,), name="x")
    least = keras.Model(image, keras.layers.Dense(2)(image), name="least")
    saved = export(least, ExportOptions(formats=("saved_model",), output=tmp_path / "sm", verify=False)).artifacts[0]
    with pytest.raises(OptionError, match="saved_model is not timed; tflite and onnx are"):
        benchmark(saved, quick)
    with pytest.raises(OptionError, match="--against needs a Keras model"):
        benchmark(saved.path, BenchOptions(against=("naive",)))
    with pytest.raises(OptionError, match="did you mean 'tflite'"):
        BenchOptions(formats=("tflit",))
    with pytest.raises(OptionError, match="takes numbers of at least 1, or all; got True"):
        BenchOptions(threads=(True,))
    check_chart(tmp_path / "fine.svg")
