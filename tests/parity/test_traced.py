"""The step between the numbers that a tensor of an ONNX file can hold, where its own type does not tell it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from converters.artifact import Artifact, Precision, TensorSpec
from exporter.parity.traced import read_tensors
from exporter.runtimes.table import runtime


def test_steps_come_from_casts_and_from_the_files_scales(tmp_path: Path) -> None:
    scale, zero = np.float32(0.25), np.int8(3)
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["half"], ["back"], to=TensorProto.FLOAT),
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["stored"]),
        helper.make_node("DequantizeLinear", ["stored", "scale", "zero"], ["read"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "back", "read")]
    constants = [numpy_helper.from_array(np.array(value), name) for name, value in (("scale", scale), ("zero", zero))]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], constants)
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    specs = [TensorSpec(name, (1, 4), "float32") for name in ("x", "back", "read")]
    artifact = Artifact(path, "onnx", Precision.FP32, (specs[0],), tuple(specs[1:]), "", path.stat().st_size, {})
    # All of one code, and below what half precision has normal numbers for.
    with runtime("onnxruntime").open(artifact) as session:
        found = read_tensors(session, {"x": np.full((2, 4), 1e-5, np.float32)}, 1)
    tensors = {each.name: each for each in found}
    assert tensors["half"].step == tensors["back"].step == 2.0**-24
    assert np.max(np.abs(tensors["back"].value - np.float32(1e-5))) <= tensors["back"].rounding
    assert (tensors["read"].step, tensors["read"].low, tensors["read"].high) == (0.25, -32.75, 31.0)
