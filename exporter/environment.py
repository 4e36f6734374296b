"""Where a reference is computed: device, versions, and the settings that change the last digits."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final, Literal

from converters.errors import OptionError, RuntimeUnavailableError

Device = Literal["cpu", "gpu"]

_TF32: Final = {True: ", TF32 on", False: "", None: ", TF32 as the library chooses"}
_PACKAGES: Final = ("cbam-export", "keras", "tensorflow", "jax", "jaxlib", "torch", "numpy")


def choose_device(asked: str | None) -> Device:
    """The device asked for; without that, a GPU where the Keras backend sees one.

    Raises:
        OptionError: neither cpu nor gpu.
        RuntimeUnavailableError: the backend sees no GPU.
    """
    if asked not in (None, "cpu", "gpu"):
        raise OptionError(f"a device is cpu or gpu; got {asked!r}")
    if asked == "cpu":
        return "cpu"
    name = gpu_name()
    if asked == "gpu" and name is None:
        import keras

        backend = keras.backend.backend()
        raise RuntimeUnavailableError(
            f"Keras on {backend} sees no GPU here; leave --device out, or install {backend} with GPU support"
        )
    return "cpu" if name is None else "gpu"


def environment(device: Device, policies: set[str], repeatable: bool) -> dict[str, Any]:
    """What a reference says of its making, JSON-able.

    Args:
        device: on which the model ran.
        policies: the floating types that its layers compute in.
        repeatable: whether two runs gave the same bits.
    """
    import keras

    backend = keras.backend.backend()
    versions = {name: found for name in _PACKAGES if (found := _version(name)) is not None}
    device_name = (gpu_name() or "a GPU") if device == "gpu" else cpu_name()
    tf32 = _tf32(backend) if device == "gpu" else False
    summary = f"Keras {versions.get('keras')} on {backend} {versions.get(backend)}, {device_name}"
    summary += _TF32[tf32] if device == "gpu" else ""
    return {
        "summary": summary,
        "device": device,
        "device_name": device_name,
        "driver": _driver() if device == "gpu" else None,
        "backend": backend,
        "versions": {**versions, "python": platform.python_version()},
        "system": f"{platform.system()} {platform.machine()}",
        "tf32": tf32,
        "mixed_precision": len(policies) > 1 or not policies <= {"float32"},
        "computes_in": sorted(policies),
        "repeatable": repeatable,
    }


def gpu_name() -> str | None:
    """The first GPU that the Keras backend can compute on, or None."""
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        found = tf.config.list_physical_devices("GPU")
        details = tf.config.experimental.get_device_details(found[0]) if found else {}
        return str(details.get("device_name", "GPU")) if found else None
    if backend == "jax":
        import jax

        with contextlib.suppress(RuntimeError):  # so says JAX that there is none
            return str(jax.devices("gpu")[0].device_kind)
        return None
    if backend == "torch":
        import torch

        return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else None
    return None


def cpu_name() -> str:
    """The processor's name as its system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _tf32(backend: str) -> bool | None:
    """Whether float32 products on a GPU may be rounded to TF32; None where only the library knows."""
    if backend == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.experimental.tensor_float_32_execution_enabled())
    if backend == "jax":
        import jax

        asked = str(getattr(jax.config, "jax_default_matmul_precision", None) or "default").lower()
        return None if asked == "default" else asked in ("tensorfloat32", "high")
    if backend == "torch":
        import torch

        return bool(torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32)
    return None


def _driver() -> str | None:
    """The version of NVIDIA's driver, or None."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        return ran.stdout.strip().splitlines()[0] if ran.stdout.strip() else None
    return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
