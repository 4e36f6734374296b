"""HDF5 files whose structure was made to harm: links, other files' data, wrong types, declared sizes, damage."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any, Final

import h5py
import numpy as np

from fuzzing.blobs import FIXTURES
from fuzzing.case import Case, Draw
from fuzzing.containers import WEIGHTS, damage, members, packed
from fuzzing.junk import NAMES, junk, mutate
from fuzzing.templates import Templates

_TYPES: Final = (
    "f2", "f4", "f8", "i1", "u8", "c8", "?", "S5", "V3", h5py.string_dtype(), h5py.ref_dtype, h5py.vlen_dtype("f4"),
    np.dtype([("a", "f4"), ("b", "S3")]), h5py.enum_dtype({"A": 1}), np.dtype(("f4", (2, 2))), ">f4",
)  # fmt: skip
_SHAPES: Final[tuple[Any, ...]] = (
    (),
    (0,),
    (1,),
    (3, 3, 3, 4),
    (4,),
    (4, 2),
    (2,),
    (3,),
    (1,) * 32,
    (2**20,),
    (0, 2**40),
)
_HUGE: Final = (2**20, 2**24, 2**26 - 1, 2**26, 2**26 + 1, 2**28, 2**31, 2**40, 2**60)
_ATTRIBUTES: Final = (
    "model_config", "keras_version", "backend", "training_config", "layer_names", "weight_names", "layer_names0",
    "weight_names0", "name", "other", "CLASS", "DIMENSION_LIST",
)  # fmt: skip


def _places(file: h5py.File) -> list[str]:
    names = ["/"]
    file.visit(names.append)
    return names


def _group(draw: Draw, file: h5py.File) -> h5py.Group:
    return file[draw.choice([name for name in _places(file) if isinstance(file[name], h5py.Group)])]


def _taken(draw: Draw, file: h5py.File) -> tuple[h5py.Group, str]:
    """Where something was, which is gone now, or a new name in a group."""
    place = draw.choice(_places(file)[1:] or ["/"])
    if place == "/" or draw.randrange(5) == 0:
        return _group(draw, file), f"new{draw.randrange(1000)}"
    owner, _, name = place.rpartition("/")
    group = file[owner or "/"]
    del group[name]
    return group, name


def _link(draw: Draw, file: h5py.File) -> None:
    group, name = _taken(draw, file)
    target = draw.choice(("/model_weights", "/", "/nothing", group.name, f"{group.name}/{name}", "../x", "é"))
    kind = draw.randrange(4)
    if kind == 0:
        group[name] = h5py.SoftLink(target)
    elif kind == 1:
        group[name] = h5py.ExternalLink(draw.choice(("other.h5", "/etc/passwd", "/dev/zero", "x" * 5000)), target)
    else:  # a circle
        group[name] = file[draw.choice([each for each in _places(file) if isinstance(file[each], h5py.Group)])]


def _data(draw: Draw, file: h5py.File) -> None:
    group, name = _taken(draw, file)
    kind, shape = draw.choice(_TYPES), draw.choice(_SHAPES)
    what = draw.randrange(7)
    if what == 0:
        group.create_dataset(name, data=h5py.Empty("f4"))
    elif what == 1:
        group.create_dataset(name, (4,), "f4", external=[(draw.choice(("/etc/passwd", "/dev/zero", "x")), 0, 16)])
    elif what == 2:
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource(draw.choice(("other.h5", ".", "/etc/passwd")), "data", (4,))
        group.create_virtual_dataset(name, layout)
    elif what == 3:  # declared, and hardly stored
        options = draw.choice(({}, {"compression": "gzip"}, {"fletcher32": True}, {"fillvalue": float("nan")}))
        for index in range(draw.choice((1, 1, 3, 40))):
            chunks = (min(2**16, size := draw.choice(_HUGE)),)
            made = group.create_dataset(
                f"{name}{index or ''}", (size,), draw.choice(("f4", "i1")), chunks=chunks, **options
            )
            if draw.randrange(2):
                made[:10] = 1
    elif what == 4:
        rows = draw.choice((4, 4096, 2**20))
        options = draw.choice(({"compression": "gzip"}, {"compression": "lzf"}, {"scaleoffset": 2}, {"shuffle": True}))
        group.create_dataset(name, data=np.zeros(rows, "i4"), chunks=(rows,), **options)
    elif what == 5:
        group[name] = np.dtype("f4")  # a type, which is no dataset
    else:
        group.create_dataset(name, shape, kind)


def _attribute(draw: Draw, file: h5py.File) -> None:
    owner = file[draw.choice(_places(file))] if draw.randrange(3) else file
    name = draw.choice([*owner.attrs, *_ATTRIBUTES])
    text = draw.choice(NAMES).encode("utf-8", "replace").replace(b"\0", b"")
    value: Any = draw.choice((
        3, 0.5, text, text.decode("utf-8", "replace"), [b"a", b"b"], [1, 2], np.zeros((2, 2)), h5py.Empty("S5"),
        np.void(b"{}"), np.zeros(50_000, "i1"), np.array([b"x" * 900] * 60), b"{}", b"\xff\xfe", np.array([], "S1"),
        json.dumps(junk(draw)).encode("utf-8", "replace")[:60_000], [[b"a"], [b"b"]], h5py.Reference(),
        ["odd", "odd"], [b"odd"] * 1000, b"2.4.0", b"9.9.9", b"theano", "3" * 5000, True,
    ))  # fmt: skip
    if draw.randrange(6) == 0 and name in owner.attrs:
        del owner.attrs[name]
    else:
        owner.attrs[name] = value


def _names(draw: Draw, file: h5py.File) -> None:
    """The lists of names by which weights are found."""
    found = [name for name in _places(file) if {"layer_names", "weight_names"} & set(file[name].attrs)]
    if not found:
        return
    attributes = file[draw.choice(found)].attrs
    name = "layer_names" if "layer_names" in attributes else "weight_names"
    names = [*attributes[name]]
    change = draw.randrange(6)
    if change == 0:
        draw.shuffle(names)
    elif change == 1:
        names += names
    elif change == 2 and names:
        names[draw.randrange(len(names))] = draw.choice(
            (b"/", b"..", b"../odd", b"", b"x", b"/model_weights", b"kernel:0")
        )
    elif change == 3:
        names = names[1:]
    elif change == 4:
        names = [b"odd", *names]
    attributes[name] = np.array(names, "S") if names and change != 5 else 5


def _shape(draw: Draw, file: h5py.File) -> None:
    """Many groups, deep groups, odd names."""
    group = _group(draw, file)
    kind = draw.randrange(3)
    if kind == 0:
        for index in range(draw.choice((10, 3000))):
            group.create_group(f"many{index}")
    elif kind == 1:
        for index in range(draw.choice((10, 300))):
            group = group.create_group(f"d{index}")
    else:
        name = draw.choice(NAMES).encode("utf-8", "replace").decode().replace("\0", "").strip("/.")
        if name and name not in group:
            group.create_group(name)


_CHANGES: Final[tuple[Callable[[Draw, h5py.File], None], ...]] = (
    _link, _data, _data, _attribute, _attribute, _names, _shape,
)  # fmt: skip


def changed(draw: Draw, content: bytes) -> bytes:
    """An HDF5 file with its structure changed, its bytes damaged, or both."""
    buffer = io.BytesIO(content)
    if draw.randrange(4):
        with h5py.File(buffer, "r+") as file:
            for _ in range(draw.choice((1, 1, 2, 4))):
                with contextlib.suppress(TypeError, ValueError, OSError, RuntimeError, KeyError):
                    draw.choice(_CHANGES)(draw, file)  # what h5py itself does not write is no case
    made = buffer.getvalue()
    return damage(draw, made, (b"\xff" * 8, bytes(16), b"TREE", b"HEAP", b"SNOD")) if draw.randrange(3) == 0 else made


def of_hdf5(draw: Draw, templates: Templates) -> Case:
    """A model in HDF5, or the weights of one in a zip archive."""
    stem = draw.choice(("bare", "full"))
    if draw.randrange(2):
        content = changed(draw, (templates.folder / f"{stem}.h5").read_bytes())
        return Case(content=content, suffix=draw.choice((".h5", ".hdf5", ".keras")))
    files = members(templates.folder / f"{stem}.keras")
    return Case(content=packed({**files, WEIGHTS: changed(draw, files[WEIGHTS])}))


@functools.cache
def _real() -> tuple[tuple[str, bytes], ...]:
    """The files of old stacks that the repository keeps."""
    found = []
    for path in sorted((FIXTURES / "legacy").glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith((".h5", ".hdf5", ".keras"))]
            found += [(name, archive.read(name)) for name in names if archive.getinfo(name).file_size < 200_000]
    return tuple(found)


def of_fixture(draw: Draw, templates: Templates) -> Case:
    """A real file of an old stack, with its config, its structure or its bytes changed."""
    name, content = draw.choice(_real())
    suffix, what = name[name.rindex(".") :], draw.randrange(4)
    if what == 0:
        return Case(content=damage(draw, content), suffix=suffix)
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = {each: archive.read(each) for each in archive.namelist()}
        if what == 1 and WEIGHTS in files:
            files[WEIGHTS] = changed(draw, files[WEIGHTS])
        else:
            files["config.json"] = json.dumps(mutate(draw, json.loads(files["config.json"]))).encode()
        return Case(content=packed(files), suffix=suffix)
    if what == 1:
        return Case(content=changed(draw, content), suffix=suffix)
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        text = file.attrs["model_config"]
        config = mutate(draw, json.loads(text))
        file.attrs["model_config"] = json.dumps(config)[: 60_000 if isinstance(text, bytes) else None]
    return Case(content=buffer.getvalue(), suffix=suffix)
