"""Reads HDF5 files in a child process, because libhdf5 can hang or crash on a damaged one.

The parent never opens the file. What the child has read from end to end, Keras can read as well.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from converters.errors import ConversionError, ModelError
from converters.lambdas.limits import Limits, is_bomb, show

if TYPE_CHECKING:
    import h5py

__all__ = ["check_content", "read_model"]

_DAMAGED = "its HDF5 structure is damaged; copy or download it again"
_SPARE = 96 << 20  # bytes for reading a file with nothing in it, beyond what the libraries take
_SAVE_WHOLE = "save the whole model where it was built, with model.save('model.keras')"


def read_model(path: str | os.PathLike[str], limits: Limits) -> dict[str, Any]:
    """Checks the content of a Keras model in HDF5, as `check_content`, and gives what describes it.

    Gives {"config": JSON text, "keras_version": text or None, "backend": text or None, "compiled": bool,
    "loss_scaled": bool, "elements": numbers in all tensors}.

    Raises:
        ModelError: as `check_content`, and if the file holds weights alone or no Keras model.
    """
    return _in_child("model", os.fspath(path), os.fspath(path), limits)


def check_content(path: str | os.PathLike[str], where: str, limits: Limits) -> int:
    """Reads every group, attribute and tensor of an HDF5 file, and refuses what lies outside of it.

    where: what messages call the file. Gives the count of numbers in all tensors.

    Raises:
        ModelError: naming the first link, or tensor in another file, or decompression bomb; or if the file is damaged.
    """
    elements: int = _in_child("content", os.fspath(path), where, limits)["elements"]
    return elements


def _in_child(task: str, path: str, where: str, limits: Limits) -> dict[str, Any]:
    request = json.dumps({"task": task, "path": path, "where": where, "limits": dataclasses.asdict(limits)})
    # The child imports from where this process does, but never from the working directory, which may hold anything.
    lines = [os.path.abspath(entry) for entry in sys.path if entry]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(lines), "PYTHONSAFEPATH": "1"}
    environment["OPENBLAS_NUM_THREADS"] = "1"  # NumPy would start a thread per core just to be imported
    command = [sys.executable, "-c", "from converters.lambdas.hdf5 import main; main()"]
    try:
        child = subprocess.run(
            command, input=request.encode(), capture_output=True, timeout=limits.seconds, env=environment, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{where} could not be read within {limits.seconds:g} s: {_DAMAGED}") from error
    if child.returncode == -getattr(signal, "SIGXCPU", signal.SIGTERM):
        raise ModelError(f"{where} takes far longer to read than a file of its size does: {_DAMAGED}")
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        raise ModelError(f"{where} crashes the HDF5 library ({name}): it is damaged; copy or download it again")
    if child.returncode or not child.stdout:
        last = child.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise ConversionError(f"{where} could not be read: the process that reads HDF5 failed ({show(last)})")
    answer: dict[str, Any] = json.loads(child.stdout)
    if "error" in answer:
        raise ModelError(answer["error"])
    return answer


def main() -> None:
    """The child: a request as JSON on stdin, {"error": message} or the answer as JSON on stdout."""
    import h5py

    request = json.load(sys.stdin.buffer)
    where, limits = request["where"], Limits(**request["limits"])
    try:
        size = os.stat(request["path"]).st_size
        _limit_time(1 + size / limits.rate)
        _limit_memory(_spare(size))
        with h5py.File(request["path"], "r") as file:
            answer = _describe(where, file, limits) if request["task"] == "model" else {}
            answer["elements"] = _read_all(where, file, size, limits)
    except ModelError as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": f"{where} declares far more than a file of its size holds: {_DAMAGED}"}
    except Exception as error:
        # h5py answers a damaged file with a dozen exception types, from KeyError to RuntimeError.
        cut = "cut short" if "truncated" in str(error) else "damaged"
        answer = {"error": f"{where} is an HDF5 file that is {cut} ({show(error)}): copy or download it again"}
    sys.stdout.write(json.dumps(answer))


def _limit_time(seconds: float) -> None:
    """End this process after so much more processor time: libhdf5 can go round in a damaged file for ever."""
    try:
        import resource
    except ImportError:  # Windows has only the clock of the parent
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    _set_limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime + seconds))


def _limit_memory(count: int) -> None:
    """From here on refuse more than so many bytes beyond those held: many declared texts can be one stored one.

    Only Linux tells what is held; elsewhere the checks of declared sizes stand alone.
    """
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[0])
    except (ImportError, OSError):
        return
    _set_limit(resource.RLIMIT_AS, pages * resource.getpagesize() + count)


def _set_limit(kind: int, value: int) -> None:
    import resource

    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _spare(size: int) -> int:
    """Bytes beyond a tensor's own: a config, which can be nearly all of the file, is held several times."""
    return _SPARE + 6 * size


def _describe(where: str, file: h5py.File, limits: Limits) -> dict[str, Any]:
    config = _text(where, file, "model_config", limits)
    if config is None:
        if "layer_names" in file.attrs or any(name in file for name in ("layers", "vars", "optimizer")):
            raise ModelError(f"{where} holds weights alone, without the model's architecture: {_SAVE_WHOLE}")
        raise ModelError(f"{where} is an HDF5 file, but no Keras model (it has no model_config attribute)")
    if "model_weights" not in file:
        raise ModelError(f"{where} has no model_weights, so the model's weights are missing: {_SAVE_WHOLE}")
    version = _text(where, file, "keras_version", limits)
    backend = _text(where, file, "backend", limits)
    training = _text(where, file, "training_config", limits)
    return {
        "config": config,
        "keras_version": version,
        "backend": backend,
        "compiled": training is not None,
        "loss_scaled": '"LossScaleOptimizer"' in (training or ""),
    }


def _text(where: str, file: h5py.File, name: str, limits: Limits) -> str | None:
    """A text attribute of the file's root, or None if it has none of that name."""
    if name not in file.attrs:
        return None
    identity = file.attrs.get_id(name)
    # h5py allocates what the file declares before it reads, so the declared size comes first.
    if identity.shape != () or identity.dtype.itemsize > limits.config_bytes:
        raise ModelError(f"{where} is damaged: its attribute {name} is not one text of a plausible size")
    value = file.attrs[name]
    if not isinstance(value, str | bytes):
        raise ModelError(f"{where} is damaged: its attribute {name} is not text but {type(value).__name__}")
    if len(value) > limits.config_bytes:
        raise ModelError(f"{where}: {name} holds {len(value)} bytes; at most {limits.config_bytes} are read")
    # Bytes that are not UTF-8 become lone surrogates, which JSON carries and the reader of the config refuses.
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def _read_all(where: str, file: h5py.File, size: int, limits: Limits) -> int:
    """Reads every object of a file of `size` bytes, and counts the numbers in its tensors."""
    import h5py

    elements = declared = stored = 0
    seen: set[int] = set()  # addresses: hard links may go in circles
    stack: list[h5py.Group] = [file["/"]]
    while stack:
        group = stack.pop()
        _read_attributes_of(where, group, limits)
        for name in group:
            inner = f"{where}: {show(f'{group.name}/{name}'.replace('//', '/'))}"
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise ModelError(f"{inner} is a link to another file ({show(link.filename)}), not in the model")
            if not isinstance(link, h5py.HardLink):
                raise ModelError(f"{inner} is a symbolic link, which no writer of models makes")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > limits.objects:
                raise ModelError(f"{where} holds more than {limits.objects} groups and tensors")
            if isinstance(item, h5py.Group):
                stack.append(item)
            elif isinstance(item, h5py.Dataset):
                declared, stored = declared + item.nbytes, min(size, stored + item.id.get_storage_size())
                if is_bomb(declared, stored, limits):
                    raise ModelError(
                        f"{inner} and what was read before it declare {declared} bytes but store {stored}: a "
                        "decompression bomb, not weights"
                    )
                _read_dataset(inner, item, size)
                elements += int(item.size or 0)
    return elements


def _read_attributes_of(where: str, group: h5py.Group, limits: Limits) -> None:
    for name in group.attrs:
        identity = group.attrs.get_id(name)
        size = math.prod(identity.shape or ()) * identity.dtype.itemsize
        if size > limits.config_bytes:
            raise ModelError(f"{where}: attribute {show(name)} of {show(group.name)} declares {size} bytes")
        group.attrs[name]


def _read_dataset(where: str, item: h5py.Dataset, size: int) -> None:
    if item.external:
        raise ModelError(f"{where} keeps its numbers in another file ({show(item.external[0][0])}), not in the model")
    if item.is_virtual:
        raise ModelError(f"{where} is put together from other files, not stored in the model")
    if item.dtype.hasobject:
        raise ModelError(f"{where} holds texts or references ({item.dtype}), where weights are numbers")
    if item.shape is not None:
        _limit_memory(_spare(size) + item.nbytes)
        item[()]
        _limit_memory(_spare(size))
