"""What the rewrites of an ONNX graph read of its nodes."""

from __future__ import annotations

from typing import Any

from onnx import helper

__all__ = ["attribute", "pads_itself"]


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """A node's attribute, or what it is where the node does not say."""
    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)


def pads_itself(node: Any) -> bool:
    """Whether a node is padded by rule (`SAME_UPPER`, `SAME_LOWER`), not by the amounts in its `pads`."""
    return attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
