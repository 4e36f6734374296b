"""The reference file: what is written comes back, and what is not one, or contradicts itself, is refused."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.errors import ModelError, OutputError
from exporter.parity.gate_report import gate_rows
from exporter.parity.record import Record, read, write

MakeRecord = Callable[..., Record]


def test_what_is_written_comes_back(make_record: MakeRecord, tmp_path: Path) -> None:
    record = make_record()
    write(record, tmp_path / "ref.npz")
    again = read(tmp_path / "ref.npz")
    assert again.sha256() == record.sha256()
    for field in dataclasses.fields(Record):
        one, other = getattr(record, field.name), getattr(again, field.name)
        if field.name in ("inputs", "outputs", "truth"):
            for name in one:
                np.testing.assert_array_equal(one[name], other[name])
                assert one[name].dtype == other[name].dtype
        elif field.name not in ("noise", "gates"):
            assert one == other, field.name
    np.testing.assert_array_equal(again.gates[0].channel, record.gates[0].channel)
    assert [path.name for path in tmp_path.iterdir()] == ["ref.npz"]


def test_names_that_are_no_file_names_and_a_model_without_truth(make_record: MakeRecord, tmp_path: Path) -> None:
    record = make_record()
    odd = make_record(
        outputs={"../a b:0": record.outputs["scores"]},
        output_specs=(dataclasses.replace(record.output_specs[0], name="../a b:0"),),
        truth=None,
        noise={},
        gates=(),
    )
    write(odd, tmp_path / "ref.npz")
    again = read(tmp_path / "ref.npz")
    assert list(again.outputs) == ["../a b:0"]
    assert again.truth is None
    assert again.expected is again.outputs


def test_it_holds_arrays_and_json_only(make_record: MakeRecord, tmp_path: Path) -> None:
    write(make_record(), tmp_path / "ref.npz")
    with np.load(tmp_path / "ref.npz", allow_pickle=False) as file:
        header = json.loads(file["header"].tobytes())
        assert all(file[key].dtype.kind in "fiu" for key in file.files)
    assert header["schema"] == "cbam-export/reference/1"


def test_a_reference_that_would_run_code_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "ref.npz", header=np.array([print], dtype=object))
    with pytest.raises(ModelError, match="is not a reference file"):
        read(tmp_path / "ref.npz")


def test_another_file_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "ref.npz", image=np.zeros(3), other=np.zeros(3))
    with pytest.raises(ModelError, match=r"is not a reference file .*: it holds 'image', 'other'; `cbam reference`"):
        read(tmp_path / "ref.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    for content in ((tmp_path / "one.npy").read_bytes(), b"hello", b""):
        (tmp_path / "ref.npz").write_bytes(content)
        with pytest.raises(ModelError, match=r"ref\.npz: is no \.npz file, or a damaged one"):
            read(tmp_path / "ref.npz")


@pytest.mark.parametrize("part", [0, 10, 0.3, 0.6, 0.99])
def test_a_damaged_file_is_refused(part: float, make_record: MakeRecord, tmp_path: Path) -> None:
    write(make_record(), tmp_path / "ref.npz")
    content = (tmp_path / "ref.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: int(part if part >= 1 else part * len(content))])
    with pytest.raises(ModelError, match=r"cut\.npz"):
        read(tmp_path / "cut.npz")
    turned = bytearray(content)
    turned[len(content) // 2] ^= 0xFF
    (tmp_path / "cut.npz").write_bytes(turned)
    with pytest.raises(ModelError, match=r"cut\.npz"):
        read(tmp_path / "cut.npz")


CHANGES: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda header: header.update(schema="cbam-export/reference/9"), "schema .* record it again"),
    (lambda header: header["cases"].pop(), "not as many as its cases say"),
    (lambda header: header["cases"][1].update(start=7), "do not lie one behind the other"),
    (lambda header: header["noise"].append("fp8"), "unknown noise level 'fp8'"),
    (lambda header: header["outputs"].append(header["outputs"][0] | {"name": "more"}), "output_1"),
    (lambda header: header.pop("workload"), "workload"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES)
def test_a_header_that_contradicts_the_arrays_is_refused(
    change: Callable[[dict[str, Any]], Any], said: str, make_record: MakeRecord, tmp_path: Path
) -> None:
    write(make_record(), tmp_path / "ref.npz")
    with np.load(tmp_path / "ref.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    header = json.loads(arrays.pop("header").tobytes())
    change(header)
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(tmp_path / "ref.npz", header=text, **arrays)
    with pytest.raises(ModelError, match=said):
        read(tmp_path / "ref.npz")


def test_what_is_no_reference_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04", b"[]"):
        (tmp_path / "ref.npz").write_bytes(content)
        with pytest.raises(ModelError):
            read(tmp_path / "ref.npz")
    with zipfile.ZipFile(tmp_path / "ref.npz", "w") as archive:
        buffer = io.BytesIO()
        np.save(buffer, np.zeros(3))
        archive.writestr("header.npy", buffer.getvalue())
    with pytest.raises(ModelError):
        read(tmp_path / "ref.npz")
    with pytest.raises(ModelError, match="No such file"):
        read(tmp_path / "absent.npz")


def test_a_folder_that_cannot_be_written_is_said(make_record: MakeRecord, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write(make_record(), tmp_path / "file" / "ref.npz")


def test_fewer_samples_keep_every_other_case(make_record: MakeRecord) -> None:
    record = make_record()
    few = record.first(10)
    assert few.samples == record.samples - 30
    assert [case.count for case in few.cases] == [10, *(case.count for case in record.cases[1:])]
    for case, own in zip(few.cases[1:], record.cases[1:], strict=True):
        np.testing.assert_array_equal(few.inputs["image"][case.rows], record.inputs["image"][own.rows])
        np.testing.assert_array_equal(few.noise["fp16"]["scores"][case.rows], record.noise["fp16"]["scores"][own.rows])
    assert record.first(40) is record


def test_gates_that_never_move_are_dead(make_record: MakeRecord) -> None:
    channel, spatial = gate_rows(make_record())
    assert (channel["dead"], channel["gate"]) == (0.0, "channel")
    assert (spatial["dead"], spatial["open"], spatial["closed"]) == (1.0, 1.0, 0.0)
