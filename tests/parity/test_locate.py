"""A fault is found in the tensor where it arises and named by its Keras layer; a sound artifact has none."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.artifact import Artifact
from converters.errors import ModelError
from exporter import ExportOptions, QuantisationOptions, export
from exporter.inner import InnerModel
from exporter.locating import LayerSearch
from exporter.parity.gates import Gates
from exporter.parity.locate import Finding, Profile
from exporter.parity.text_layers import profile as profile_lines
from exporter.parity.text_layers import where
from exporter.pipeline import trace
from exporter.runtimes.table import runtime
from exporter.samples import samples
from exporter.source import load_source

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = {"tflite": "litert", "onnx": "onnxruntime"}


@pytest.fixture(scope="module")
def scripts() -> Iterator[Any]:
    sys.path.insert(0, str(ROOT / "scripts"))
    import faults
    import wrong_scales

    yield {**vars(faults), **vars(wrong_scales)}
    sys.path.remove(str(ROOT / "scripts"))


@pytest.fixture(scope="module")
def sound(scripts: Any) -> Any:
    return scripts["small"]()


@pytest.fixture(params=[pytest.param(False, marks=pytest.mark.slow), True], ids=["plain", "lowered"])
def lower(request: pytest.FixtureRequest) -> bool:
    """Whether the artifacts are of the lowered model, as by default, or of the model as it is."""
    return bool(request.param)


def images(model: Any) -> dict[str, np.ndarray]:
    source = load_source(model)
    return {name: array[:8] for name, array in samples(trace(source, ExportOptions()).inputs, None, None)[0].items()}


def profiles(model: Any, made: Any, folder: Path, **options: Any) -> dict[str, Profile]:
    """What is found of the artifacts of `made` against `model`, by format."""
    options = {"formats": ("tflite", "onnx"), "lower": False, **options}
    artifacts = export(made, ExportOptions(output=folder, verify=False, **options)).artifacts
    return {artifact.format: examined(model, artifact) for artifact in artifacts}


SEARCHES: dict[int, LayerSearch] = {}


def search(model: Any) -> LayerSearch:
    return SEARCHES.setdefault(id(model), LayerSearch(load_source(model), images(model)))


def examined(model: Any, artifact: Artifact) -> Profile:
    with runtime(RUNTIME[artifact.format]).open(artifact) as session:
        return search(model).profile(artifact, session)


def assert_sound(found: Profile) -> None:
    assert found.divergence is None
    assert found.note
    assert {row.finding for row in found.rows} == {Finding.AGREES}
    assert max(row.error / row.allowed for row in found.rows if row.error and row.allowed) < 0.5


def test_every_tensor_of_a_sound_artifact_is_recognised_and_agrees(sound: Any, lower: bool, tmp_path: Path) -> None:
    for found in profiles(sound, sound, tmp_path, lower=lower).values():
        assert_sound(found)
        assert found.unmatched == ()
        assert {row.matched for row in found.rows} == {"value"}
        named = {layer for row in found.rows for layer in row.layers}
        assert {"conv1", "bn2", "relu3", "cbam2/channel/squeeze", "cbam3/spatial/conv", "pool1", "scores"} <= named
        assert [(line.block, line.gate) for line in found.gates] == [
            (f"cbam{number}", gate) for number in (1, 2, 3) for gate in ("channel", "spatial")
        ]
        assert all(line.tensor and line.error is not None and line.error < 1e-5 for line in found.gates)
        shown = [(each.block, each.model.shape, each.artifact is not None) for each in found.maps]
        assert shown == [("cbam1", (8, 24, 20), True), ("cbam2", (8, 12, 10), True), ("cbam3", (8, 6, 5), True)]
        assert all(np.max(np.abs(each.model - each.artifact)) < 1e-5 for each in found.maps)


FAULTS: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "one weight of a kernel 1% larger": ("conv2", "", lambda s: s["with_weights"]("conv2", s["one_percent"])),
    "one weight of a gate 1% larger": (
        "cbam2/channel/squeeze",
        "cbam2",
        lambda s: s["with_weights"]("cbam2/channel/squeeze", s["one_percent"]),
    ),
    "BatchNorm epsilon": ("bn1", "", lambda s: s["with_setting"]("bn1", "epsilon", 1e-5)),
    "ReLU6 -> ReLU": ("relu1", "", lambda s: s["with_setting"]("relu1", "max_value", None)),
    "max and mean swapped": ("cbam1/spatial", "cbam1", lambda s: s["swapped"]("cbam1")),
    "padding shifted": ("conv2", "", lambda s: s["shifted"]("conv2")),
    "NCHW fed as NHWC": ("image", "", lambda s: s["as_nchw"]),
    "TF32": ("conv1", "", lambda s: s["all_tf32"]),
}


QUICK = ("one weight of a gate 1% larger", "BatchNorm epsilon")


@pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAULTS]
)
def test_a_fault_is_named_by_its_layer(fault: str, sound: Any, scripts: Any, lower: bool, tmp_path: Path) -> None:
    layer, block, put = FAULTS[fault]
    for found in profiles(sound, put(scripts)(sound), tmp_path, lower=lower).values():
        assert found.divergence is not None
        # Lowered for LiteRT the two maps are never stacked: exchanged, they meet each other's half of the convolution.
        right = (layer, f"{layer}/conv") if lower and "swapped" in fault else (layer,)
        assert found.divergence.layer in right
        assert found.divergence.block == block
        leaving = [row for row in found.rows if row.finding is Finding.LEAVES]
        assert leaving[0].tensor == found.divergence.tensor
        # Nothing that merely hands the error on is blamed; TF32 is a fault of every kernel, an MLP runs twice.
        assert fault == "TF32" or all({*right, *images(sound)} & {*row.layers, *images(sound)} for row in leaving)
        assert any(row.finding is Finding.HANDS_ON for row in found.rows)


def test_half_of_a_convolution_is_named_so_where_the_normalisation_behind_is_1(scripts: Any, tmp_path: Path) -> None:
    """Its result then holds the numbers of the convolution, which LiteRT's form computes in two halves."""
    model = scripts["small"]((16, 12, 3))
    for weight, value in zip(scripts["layer_at"](model, "cbam1/spatial/norm").weights, (1, 0, 0, 1), strict=True):
        weight.assign(np.full(weight.shape, value))
    made = scripts["swapped"]("cbam1")(model)
    found = profiles(model, made, tmp_path, formats=("tflite",), lower=True)["tflite"]
    assert found.divergence is not None
    assert found.divergence.layer == "cbam1/spatial/conv"


@pytest.mark.slow
def test_an_input_taken_wrongly_is_named_where_names_mislead(scripts: Any, tmp_path: Path) -> None:
    """The copy is nested, so that its names are not the model's, and no value is: of what is nearly alike in every
    stage, some is taken for another."""
    import keras

    from exporter import build_model

    keras.utils.set_random_seed(0)
    model = build_model("cbam-resnet18", input_shape=(48, 48, 3), classes=10, classifier_activation=None)
    for weight in model.weights:
        if weight.path.endswith("spatial/norm/gamma"):
            weight.assign([1.0])
    for found in profiles(model, scripts["as_nchw"](model), tmp_path, lower=True).values():
        assert found.divergence is not None
        assert found.divergence.layer == "image"
        assert found.divergence.reason == "the numbers of an NCHW image are read as NHWC"


def test_a_quantised_artifact_is_allowed_its_steps_and_no_wrong_scale(sound: Any, scripts: Any, tmp_path: Path) -> None:
    (array,) = images(sound).values()
    for artifact in scripts["quantised"](sound, array, tmp_path):
        found = examined(sound, artifact)
        assert found.divergence is None, found.divergence
        made = scripts["wrong_scales"](artifact, found, tmp_path)
        what, layers, wrong = next(each for each in made if "conv2" in each[1])
        located = examined(sound, wrong).divergence
        assert located is not None, what
        assert located.layer in layers


def test_a_lowered_int8_file_rounds_in_shapes_of_its_own(sound: Any, tmp_path: Path) -> None:
    """A small map's gate is computed as one row and rounded once more as a map, by a name that is another's."""
    (array,) = images(sound).values()
    gates = Gates(agreement=0.0, sqnr_db=0.0)
    asked = QuantisationOptions(calibration=array, force=True, min_samples=1, methods=("minmax",), gates=gates)
    options = ExportOptions(("onnx",), precision="int8", output=tmp_path, quantisation=asked)
    (artifact,) = export(sound, options).artifacts
    assert artifact.metadata["lowered"]["rewrites"]
    found = examined(sound, artifact)
    assert found.divergence is None, found.divergence
    assert found.unmatched == ()


def test_operations_nested_models_and_two_inputs_keep_their_names(pair: Any, tmp_path: Path) -> None:
    import keras

    left, right = (keras.Input(tensor.shape[1:], name=name) for tensor, name in zip(pair.inputs, "ab", strict=True))
    first, second = pair([left * 2.0, keras.ops.abs(right)])
    nested = keras.Model([left, right], [keras.ops.tanh(first), second], name="outer")
    for found in profiles(nested, nested, tmp_path).values():
        assert_sound(found)
        named = {layer for row in found.rows for layer in row.layers}
        assert {"pair/z_first", "pair/a_second"} <= named
        assert any(name.startswith("tanh") for name in named)
        assert any(name.startswith("pair/dense") for name in named)


def test_grouped_convolutions_noise_and_untrained_gates_are_no_faults(tiny: Any, lower: bool, tmp_path: Path) -> None:
    """At its start a normalisation changes next to nothing, and a gate of CBAM is the same everywhere."""
    from exporter import build_model

    untrained = build_model("cbam-small-cnn", input_shape=(16, 16, 3), classes=4)
    for model in (tiny, untrained):
        for found in profiles(model, model, tmp_path, lower=lower).values():
            assert_sound(found)
            assert found.unmatched == ()
            # Each gate is where its block is, though all that are constant hold the same number.
            assert [line.gate for line in found.gates] == ["channel", "spatial"] * (len(found.gates) // 2)
            assert all(line.tensor for line in found.gates)


def test_a_mean_over_a_block_in_parts_is_no_fault(tmp_path: Path) -> None:
    """ONNX gives it as one product with the gate and a factor; another tool may write a sum and a factor."""
    import keras
    import onnx
    from onnx import helper, numpy_helper

    from exporter import CBAM

    keras.utils.set_random_seed(1)
    image = keras.Input((12, 10, 3), name="image")
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="conv")(image)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(CBAM("paper", name="block")(x))
    model = keras.Model(image, keras.layers.Dense(4, name="scores")(x), name="net")
    next(weight for weight in model.weights if weight.path.endswith("spatial/norm/gamma")).assign([1.0])
    for found in profiles(model, model, tmp_path, lower=True).values():
        assert_sound(found)
        assert found.unmatched == ()
        assert any("pool" in row.layers for row in found.rows)
    (artifact,) = export(model, ExportOptions(("onnx",), output=tmp_path, verify=False, lower=False)).artifacts
    file = onnx.load(artifact.path)
    (mean,) = [each for each in file.graph.node if each.output[0].endswith("pool_1/Mean:0")]
    total, end = f"{mean.output[0]}/total", mean.output[0]
    shape = keras.ops.shape(model.get_layer("pool").input)
    file.graph.initializer.append(numpy_helper.from_array(np.float32(1 / (shape[1] * shape[2])), "share"))
    file.graph.initializer.append(numpy_helper.from_array(np.array([1, 2]), "both"))
    place = list(file.graph.node).index(mean)
    file.graph.node.remove(mean)
    file.graph.node.insert(place, helper.make_node("ReduceSum", [mean.input[0], "both"], [total], keepdims=0))
    file.graph.node.insert(place + 1, helper.make_node("Mul", [total, "share"], [end]))
    onnx.save(file, artifact.path)
    found = examined(model, artifact)
    assert_sound(found)
    assert found.unmatched == (total,)


def test_a_turned_input_and_an_open_batch_are_no_faults(sound: Any, lower: bool, tmp_path: Path) -> None:
    assert_sound(profiles(sound, sound, tmp_path, formats=("onnx",), inputs_as_nchw=True, lower=lower)["onnx"])
    for found in profiles(sound, sound, tmp_path, batch="dynamic", lower=lower).values():
        assert_sound(found)


def test_an_mlp_called_on_several_samples_twice_over_is_searched(sound: Any, scripts: Any, tmp_path: Path) -> None:
    """Merged, it takes both pooled vectors of each sample behind one another in the batch: 8 rows for 4 samples."""
    for found in profiles(sound, sound, tmp_path, batch=4, lower=True).values():
        assert_sound(found)
        assert found.unmatched == ()
        named = {layer for row in found.rows for layer in row.layers}
        assert {"cbam2/channel/squeeze", "cbam2/channel/excite", "scores"} <= named
    made = scripts["with_weights"]("cbam2/channel/squeeze", scripts["one_percent"])(sound)
    for found in profiles(sound, made, tmp_path, batch=4, lower=True).values():
        assert found.divergence is not None
        assert found.divergence.layer == "cbam2/channel/squeeze"


@pytest.mark.slow
def test_a_saved_model_is_named_by_its_scopes(sound: Any, scripts: Any, tmp_path: Path) -> None:
    (saved,) = export(sound, ExportOptions(("saved_model",), output=tmp_path, verify=False)).artifacts
    by_scope = LayerSearch(load_source(saved.path), images(sound))
    made = scripts["with_weights"]("conv2", scripts["one_percent"])(sound)
    for artifact in export(
        made, ExportOptions(("tflite", "onnx"), output=tmp_path, verify=False, lower=False)
    ).artifacts:
        with runtime(RUNTIME[artifact.format]).open(artifact) as session:
            found = by_scope.profile(artifact, session).divergence
        assert found is not None
        assert found.layer.startswith("small_1/conv2_1")


def test_dead_and_saturated_gates_are_counted(sound: Any, scripts: Any, lower: bool, tmp_path: Path) -> None:
    def put(weight: Any, value: float) -> None:
        weight.assign(np.full(weight.shape, value, np.float32))

    made = scripts["rebuilt"](sound, lambda config: None)
    put(scripts["layer_at"](made, "cbam1/spatial/norm").gamma, 0.0)
    put(scripts["layer_at"](made, "cbam2/channel/excite").bias, 50.0)
    for found in profiles(sound, made, tmp_path, lower=lower).values():
        lines = {(line.block, line.gate): line for line in found.gates}
        dead, saturated = lines["cbam1", "spatial"], lines["cbam2", "channel"]
        assert (dead.dead, dead.model_dead) == (1.0, 0.0)
        assert (saturated.saturated, saturated.dead) == (1.0, 1.0)
        assert saturated.model_saturated < 1.0
        assert found.divergence is not None
        # With a gamma of 0 the convolution in front of it is folded away, and the gate is a constant.
        assert found.divergence.layer.startswith("cbam1/spatial")
        assert "cbam1/spatial/norm" in found.divergence.layers


def test_the_profile_is_printed_and_is_json(sound: Any, scripts: Any, tmp_path: Path) -> None:
    made = scripts["with_weights"]("conv3", lambda kernel: kernel * np.float32(np.nan))(sound)
    with pytest.raises(ModelError, match="conv3"):
        export(made, ExportOptions(("onnx",), output=tmp_path, verify=False, lower=False))
    found = profiles(sound, scripts["with_setting"]("relu2", "max_value", None)(sound), tmp_path)["tflite"]
    assert found.divergence is not None
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["divergence"]["layer"] == "relu2"
    assert data["divergence"]["layers"] == ["conv2", "bn2", "relu2"]
    assert "first leaves the model at layer relu2" in where(data["divergence"])
    assert "one operation of conv2 + bn2 + relu2" in where(data["divergence"])
    shown = "\n".join(profile_lines(data))
    assert shown.count("LEAVES") == 1


def test_an_open_batch_cannot_be_read(sound: Any) -> None:
    traced = trace(load_source(sound), ExportOptions(batch="dynamic"))
    with pytest.raises(ModelError, match="fixed batch"):
        InnerModel(traced)


def test_a_session_that_keeps_its_tensors_is_refused(sound: Any, tmp_path: Path) -> None:
    (artifact,) = export(sound, ExportOptions(("onnx",), output=tmp_path, verify=False, lower=False)).artifacts
    with runtime("onnxruntime").open(artifact) as session:

        @dataclasses.dataclass
        class Closed:
            description: str
            run: Any

        with pytest.raises(ModelError, match="its inner tensors cannot be read"):
            search(sound).profile(artifact, Closed("onnxruntime", session.run))  # type: ignore[arg-type]


def test_a_file_that_does_not_tell_is_held_against_the_form_it_is_most_like(sound: Any, tmp_path: Path) -> None:
    made = export(sound, ExportOptions(("tflite", "onnx"), output=tmp_path, verify=False)).artifacts
    for artifact in made:
        assert artifact.metadata["lowered"]["rewrites"]
        bare = dataclasses.replace(artifact, metadata={"provenance": {}, "described_by": "the file itself"})
        found = examined(sound, bare)
        assert_sound(found)
        assert found.unmatched == ()
        other = dataclasses.replace(
            artifact, metadata={**artifact.metadata, "lowered": {**artifact.metadata["lowered"], "rewrites": {"a": []}}}
        )
        with pytest.raises(ModelError, match="lowered in another way than those of the model"):
            examined(sound, other)
