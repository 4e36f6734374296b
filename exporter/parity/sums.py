"""Products with weights and the bias that a file adds to them: in one operation, as most do, or in two."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from exporter.parity.layers import LayerTensor
from exporter.parity.traced import FileTensor

SUMS: Final = ("AddV2", "Add", "Sub", "BiasAdd")
"""A model's operations that add."""

ADDED: Final = ("Add", "Sub", "ADD", "SUB")
"""Those of files."""


def biased_apart(tensors: Iterable[FileTensor]) -> frozenset[str]:
    """The tensors of a file that an operation of its own adds constants to."""
    known = {tensor.name: tensor for tensor in tensors}
    apart = set()
    for tensor in known.values():
        if tensor.op in ADDED and len(tensor.sources) == 1:
            name = tensor.sources[0]
            while name in known and known[name].copies:
                name = known[name].copies
            apart.add(name)
    return frozenset(apart)


def with_its_bias(product: str, agreeing: Sequence[str], layers: Mapping[str, LayerTensor]) -> str:
    """Of the model's tensors that one of a file agrees with: the sum of the `product` and its bias, where that is one.

    In eight bits the product alone may be nearer, since the bias was moved so that rounding leaves the mean as it was.
    """
    sums = [name for name in agreeing if layers[name].op in SUMS and layers[name].sources == (product,)]
    return sums[0] if len(sums) == 1 else product
