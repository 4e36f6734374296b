"""A fault in a convolution that is computed by Winograd's F(2, 3) is named by its layer, as in a plain one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from converters.deploy.winograd import RULE
from exporter import ExportOptions, export
from exporter.locating import LayerSearch
from exporter.parity.locate import Finding, Profile
from exporter.pipeline import trace
from exporter.runtimes.table import runtime
from exporter.samples import samples
from exporter.source import load_source

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def scripts() -> Iterator[Any]:
    sys.path.insert(0, str(ROOT / "scripts"))
    import faults

    yield vars(faults)
    sys.path.remove(str(ROOT / "scripts"))


@pytest.fixture(scope="module")
def wide(scripts: Any) -> Any:
    """As many channels as Winograd's form is taken from, and an odd height: the last row of pairs is half empty."""
    import keras

    keras.utils.set_random_seed(5)
    layers = keras.layers
    image = keras.Input((11, 10, 3), name="image")
    x = layers.Conv2D(48, 1, activation="relu", name="first")(image)
    x = layers.Conv2D(48, 3, padding="same", use_bias=False, name="conv")(x)
    x = layers.BatchNormalization(epsilon=1e-3, name="norm")(x)
    x = layers.ReLU(6.0, name="relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return scripts["lively"](keras.Model(image, layers.Dense(4, name="scores")(x), name="wide"))


@pytest.fixture(scope="module")
def search(wide: Any) -> LayerSearch:
    source = load_source(wide)
    return LayerSearch(source, samples(trace(source, ExportOptions()).inputs, None, None)[0])


def examined(search: LayerSearch, model: Any, folder: Path) -> tuple[Profile, dict[str, Any]]:
    (artifact,) = export(model, ExportOptions(("tflite",), output=folder, verify=False)).artifacts
    with runtime("litert").open(artifact) as session:
        return search.profile(artifact, session), artifact.metadata["lowered"]["rewrites"]


def test_its_tensors_are_named_by_what_they_stand_for(wide: Any, search: LayerSearch, tmp_path: Path) -> None:
    found, rewrites = examined(search, wide, tmp_path)
    assert rewrites == {"conv": [RULE]}
    assert found.divergence is None
    assert found.unmatched == ()
    assert {row.finding for row in found.rows} == {Finding.AGREES}
    named = [row.layer for row in found.rows]
    # Four products and their sums are the convolution with the normalisation in it; two halves of the rows the ReLU.
    assert named.count("conv + norm") >= 4
    assert named.count("relu") >= 2
    assert not any("relu" in layer and " + " in layer for layer in named)


FAULTS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "one weight 1% larger": ("conv", lambda s: s["with_weights"]("conv", s["one_percent"])),
    "TF32": ("conv", lambda s: s["with_weights"]("conv", s["as_tf32"])),
    "epsilon": ("norm", lambda s: s["with_setting"]("norm", "epsilon", 1e-5)),
    "ReLU6 -> ReLU": ("relu", lambda s: s["with_setting"]("relu", "max_value", None)),
    "padding shifted": ("conv", lambda s: s["shifted"]("conv")),  # the copy has no such form; it is left out here too
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_it_is_named(fault: str, wide: Any, scripts: Any, search: LayerSearch, tmp_path: Path) -> None:
    layer, put = FAULTS[fault]
    found, _ = examined(search, put(scripts)(wide), tmp_path)
    assert found.divergence is not None
    assert found.divergence.layer == layer
