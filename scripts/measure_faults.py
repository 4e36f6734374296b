"""Put faults into copies of sound models, export them, and see whether each is found and at which layer.

    python scripts/measure_faults.py [--quick] [--model NAME] [--only WORD]

Prints a Markdown table: the fault, where it was put, and for TFLite and for ONNX the verdict on the outputs, the layer
that `locate` names and whether that is the right one (exact; or "among", where several layers became one operation and
the right one is named with the others). Then the sound models, of which every tensor must agree.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from exporter import ExportOptions, export
from exporter.inner import InnerModel
from exporter.parity.check import by_position, check
from exporter.parity.locate import Candidate, Profile, profile
from exporter.parity.verdict import Verdict
from exporter.pipeline import trace
from exporter.reference import make_reference
from exporter.runtimes.table import runtime
from exporter.source import load_source

FORMATS = {"tflite": "litert", "onnx": "onnxruntime"}
JUDGED = 64  # samples for the verdict on the outputs
TRACED = 8  # samples for the search along the layers


@dataclasses.dataclass(frozen=True)
class Fault:
    """`put` gives a faulty copy of a model; `layers` are the right answers."""

    name: str
    layers: tuple[str, ...]
    put: Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class Outcome:
    verdict: Verdict
    profile: Profile


class Sound:
    """A sound model with its reference outputs and inner values."""

    def __init__(self, model: Any) -> None:
        self.model = model
        source = load_source(model)
        self.traced = trace(source, ExportOptions())
        reference = make_reference(source, self.traced, None)
        few = {name: array[:JUDGED] for name, array in reference.inputs.items()}
        outputs = {name: array[:JUDGED] for name, array in reference.outputs.items()}
        self.reference = dataclasses.replace(reference, inputs=few, outputs=outputs)
        self.inner = InnerModel(self.traced)
        self.samples = {name: array[:TRACED] for name, array in few.items()}

    def judge(self, artifact: Any) -> Outcome:
        """The verdict on the outputs of an artifact, and the search along its layers."""
        names = by_position(
            [spec.name for spec in (*self.traced.inputs, *self.traced.outputs)],
            [spec.name for spec in (*artifact.inputs, *artifact.outputs)],
        )
        with runtime(FORMATS[artifact.format]).open(artifact) as session:
            verdicts = check(session, self.reference, names, 1)
            candidate = Candidate(
                session, artifact.path.name, session.description, str(artifact.precision), artifact.inputs
            )
            found = profile(candidate, self.inner, self.samples)
        failed = any(each.verdict is Verdict.FAILED for each in verdicts.values())
        return Outcome(Verdict.FAILED if failed else next(iter(verdicts.values())).verdict, found)


# Faults. Each is put into a copy that is rebuilt from the model's config with its weights.


def rebuilt(model: Any, change: Callable[[dict[str, Any]], None]) -> Any:
    config = model.get_config()
    change(config)
    copy = type(model).from_config(config)
    copy.set_weights(model.get_weights())
    return copy


def layer_config(config: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each["config"] for each in config["layers"] if each["config"]["name"] == name)
    return found


def with_setting(layer: str, key: str, value: Any) -> Callable[[Any], Any]:
    return lambda model: rebuilt(model, lambda config: layer_config(config, layer).__setitem__(key, value))


def with_weights(path: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], Any]:
    """Change the kernel of the layer at that path: `stage1_cbam/channel/squeeze`."""

    def put(model: Any) -> Any:
        copy = rebuilt(model, lambda config: None)
        kernel = layer_at(copy, path).weights[0]
        kernel.assign(change(kernel.numpy()))
        return copy

    return put


def layer_at(model: Any, path: str) -> Any:
    layer = model
    for name in path.split("/"):
        layer = next(each for each in layer._layers if each.name == name)
    return layer


def one_percent(kernel: np.ndarray) -> np.ndarray:
    """The largest weight 1% larger."""
    kernel = kernel.copy()
    place = np.unravel_index(np.abs(kernel).argmax(), kernel.shape)
    kernel[place] *= 1.01
    return kernel


def as_tf32(kernel: np.ndarray) -> np.ndarray:
    """Rounded to a mantissa of 10 bits."""
    bits = kernel.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


def all_tf32(model: Any) -> Any:
    copy = rebuilt(model, lambda config: None)
    for weight in copy.weights:
        if weight.name == "kernel":
            weight.assign(as_tf32(weight.numpy()))
    return copy


def shifted(layer: str) -> Callable[[Any], Any]:
    """SAME padding moved by one pixel, to the top and to the left."""

    def clone(each: Any) -> Any:
        import keras

        if each.name != layer:
            return type(each).from_config(each.get_config())
        size = each.kernel_size[0]
        pads = ((size // 2 + 1, size // 2 - 1),) * 2
        valid = type(each).from_config({**each.get_config(), "padding": "valid"})
        return keras.Sequential([keras.layers.ZeroPadding2D(pads), valid], name=f"{layer}_shifted")

    def put(model: Any) -> Any:
        import keras

        copy = keras.models.clone_model(model, clone_function=clone)
        copy.set_weights(model.get_weights())
        return copy

    return put


def as_nchw(model: Any) -> Any:
    """The numbers of an NCHW image, read as NHWC."""
    import keras

    image = keras.Input(model.inputs[0].shape[1:], name=model.inputs[0]._keras_history.operation.name)
    x = keras.layers.Permute((3, 1, 2))(image)
    x = keras.layers.Reshape(model.inputs[0].shape[1:])(x)
    return keras.Model(image, model(x), name="turned")


def swapped(block: str) -> Callable[[Any], Any]:
    """Max and mean change places in front of the spatial gate's convolution."""

    def put(model: Any) -> Any:
        pools = layer_at(model, block).dialect.pools

        def change(config: dict[str, Any]) -> None:
            layer_config(config, block)["dialect"]["pools"] = pools[::-1]

        return rebuilt(model, change)

    return put


def kernels(model: Any) -> Iterator[str]:
    """Paths of the layers that have a kernel."""
    for layer in model._flatten_layers(include_self=False):
        if any(weight.name == "kernel" for weight in getattr(layer, "_trainable_variables", ())):
            path = next(weight.path for weight in layer.weights if weight.name == "kernel")
            names = path.split("/")[:-1]
            yield "/".join(names[1:] if names[0] == model.name else names)


def faults(model: Any, quick: bool) -> Iterator[Fault]:
    import keras

    paths = list(kernels(model))
    first, middle = paths[0], paths[len(paths) // 2]
    for path in paths[:: 4 if quick else 1]:
        yield Fault("one weight of the kernel 1% larger", (path,), with_weights(path, one_percent))
    layers = {kind: [each.name for each in model.layers if type(each).__name__ == kind] for kind in KINDS}
    step = len(paths) if quick else 1
    for name in layers["BatchNormalization"][::step]:
        yield Fault("BatchNorm epsilon 1e-3 -> 1e-5", (name,), with_setting(name, "epsilon", 1e-5))
    for name in [each for each in layers["ReLU"] if model.get_layer(each).max_value == 6][::step]:
        yield Fault("ReLU6 -> ReLU", (name,), with_setting(name, "max_value", None))
    for name in layers["CBAM"][::step]:
        inside = tuple(f"{name}/spatial{part}" for part in ("", "/conv"))
        yield Fault("max and mean swapped in a gate", inside, swapped(name))
    for name in [*layers["Conv2D"], *layers["DepthwiseConv2D"]][::step]:
        layer = model.get_layer(name)
        if layer.padding == "same" and layer.kernel_size[0] > 1 and layer.strides[0] == 1:
            yield Fault("SAME padding shifted by one", (name,), shifted(name))
    if isinstance(model, keras.Model) and model.inputs[0].shape[-1] > 1:
        yield Fault("NCHW fed as NHWC", ("image", first), as_nchw)
    yield Fault("TF32 rounding of one kernel", (middle,), with_weights(middle, as_tf32))
    yield Fault("TF32 rounding of all kernels", (first,), all_tf32)


KINDS = ("BatchNormalization", "ReLU", "CBAM", "Conv2D", "DepthwiseConv2D")


# Models.


def small(shape: tuple[int, int, int] = (24, 20, 3)) -> Any:
    """Two stages and a depthwise one, each with CBAM, ReLU6 and BatchNorm of epsilon 1e-3 with statistics."""
    import keras

    from exporter.models.cbam import CBAM

    keras.utils.set_random_seed(5)
    layers = keras.layers
    image = x = keras.Input(shape, name="image")
    for number, width in enumerate((16, 32, 32), 1):
        if number == 3:
            x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"conv{number}")(x)
        else:
            x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"conv{number}")(x)
        x = layers.BatchNormalization(epsilon=1e-3, name=f"bn{number}")(x)
        x = layers.ReLU(6.0, name=f"relu{number}")(x)
        x = CBAM("paper", name=f"cbam{number}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{number}")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return lively(keras.Model(image, layers.Dense(10, name="scores")(x), name="small"))


def lively(model: Any) -> Any:
    """BatchNorm statistics and factors as training leaves them: none at its start, so that every layer counts."""
    random = np.random.default_rng(0)
    draws: dict[str, Callable[[Any], np.ndarray]] = {
        "gamma": lambda shape: random.uniform(0.8, 2.0, shape),
        "beta": lambda shape: random.normal(0.5, 0.5, shape),
        "moving_mean": lambda shape: random.normal(0, 0.1, shape),
        "moving_variance": lambda shape: random.uniform(0.02, 0.2, shape),
    }
    for weight in model.weights:
        if weight.name in draws:
            weight.assign(draws[weight.name](tuple(weight.shape)))
    return model


def coarse_epsilon(model: Any) -> Any:
    """The model with an epsilon of 1e-3 in every BatchNorm, for the fault that makes it smaller."""
    names = [each.name for each in model.layers if type(each).__name__ == "BatchNormalization"]

    def change(config: dict[str, Any]) -> None:
        for name in names:
            layer_config(config, name)["epsilon"] = 1e-3

    return rebuilt(model, change)


def models() -> dict[str, Callable[[], Any]]:
    from exporter import build_model, load_model

    def resnet() -> Any:
        import keras

        keras.utils.set_random_seed(0)
        return build_model("cbam-resnet18", input_shape=(96, 96, 3), classes=10, classifier_activation=None)

    return {
        "small": small,
        "cbam-mnist": lambda: coarse_epsilon(load_model("cbam-mnist")),
        "cbam-mobilenet-mnist": lambda: coarse_epsilon(load_model("cbam-mobilenet-mnist")),
        "cbam-resnet18 at 96x96": resnet,
    }


def exported(model: Any, folder: Path) -> tuple[Any, ...]:
    return export(model, ExportOptions(tuple(FORMATS), output=folder, verify=False)).artifacts


def cell(outcome: Outcome, right: tuple[str, ...]) -> str:
    found = outcome.profile.divergence
    if found is None:
        return f"{outcome.verdict}; every tensor agrees"
    named = found.layer.split(" + ")
    how = "exact" if named[0] in right and len(named) == 1 else "among" if set(named) & set(right) else "WRONG"
    return f"{outcome.verdict}; {found.layer} ({how})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one place for most faults, not all")
    parser.add_argument("--model", action="append", choices=list(models()))
    parser.add_argument("--only", default="", help="faults whose name holds this")
    arguments = parser.parse_args()
    print(f"{datetime.date.today()}")
    print("| model | fault | put into | TFLite | ONNX |\n|---|---|---|---|---|")
    sound_rows = []
    for name, make in models().items():
        if arguments.model and name not in arguments.model:
            continue
        sound = Sound(make())
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            outcomes = [sound.judge(each) for each in exported(sound.model, Path(folder))]
            took = time.perf_counter() - started
            sound_rows.append((name, outcomes, took))
            for fault in faults(sound.model, arguments.quick):
                if arguments.only not in fault.name:
                    continue
                made = exported(fault.put(sound.model), Path(folder, "faulty"))
                cells = [cell(sound.judge(each), fault.layers) for each in made]
                print(f"| {name} | {fault.name} | {fault.layers[0]} | {' | '.join(cells)} |", flush=True)
    print("\n| sound model | tensors matched, TFLite / ONNX | not matched | largest error / allowed | verdict |")
    print("|---|---|---|---|---|")
    for name, outcomes, took in sound_rows:
        ratios = [
            max((row.error / row.allowed for row in o.profile.rows if row.error is not None and row.allowed), default=0)
            for o in outcomes
        ]
        cells = [
            " / ".join(str(len(o.profile.rows)) for o in outcomes),
            " / ".join(str(len(o.profile.unmatched)) for o in outcomes),
            " / ".join(f"{ratio:.2f}" for ratio in ratios),
            " / ".join(f"{o.verdict}, {'FALSE ALARM' if o.profile.divergence else 'none named'}" for o in outcomes),
        ]
        print(f"| {name} ({took:.0f} s) | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
