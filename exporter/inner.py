"""A traced model -> every tensor it computes, in float32 and in float64, under the names of its Keras layers.

The graph is the one that every format is converted from, so the names of its operations are those that a converter
leaves in the file. In float64 it is the same graph with every float type made double.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from converters.errors import ModelError
from exporter.inner_fragments import with_fragments
from exporter.inner_graph import DIFFERENCE, FEED, doubled, with_differences, with_feeds, with_parts, with_weights_apart
from exporter.inner_names import Named, names_of
from exporter.inner_rounding import CALLS, WEIGHTED, apart, factors, rounded_weights, to_eight_bits
from exporter.parity.layers import Arrays, LayerTensor, Rounding, Turn
from exporter.parity.stacking import Rows, as_called, by_sample, rows_of

MOVED: Final = frozenset(
    {"Identity", "Reshape", "ExpandDims", "Squeeze", "Transpose", "StopGradient", "PreventGradient", "Cast"}
)
"""Operations whose result holds the numbers of their first input: no tensors of their own here."""

_STILL: Final = ("Identity", "StopGradient", "PreventGradient", "Cast")
"""Those of them that leave the axes as they are."""


class InnerModel:
    """An `InnerReference`: the tensors of a model as TensorFlow computes them on the CPU.

    All have the samples first: one that holds several rows of each sample has an axis for them behind that.

    Args:
        traced: the model's trace (`converters.trace.TracedModel`), of a fixed batch.
        named: how its operations are called; by default by the layers of the model that was traced.

    Raises:
        ModelError: the batch is open, or TensorFlow cannot run the graph.
    """

    def __init__(self, traced: Any, named: Named | None = None) -> None:
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        if any(spec.shape[:1] == (None,) for spec in traced.inputs):
            raise ModelError("the inner tensors are read at a fixed batch; the model was traced with an open one")
        frozen = convert_variables_to_constants_v2(traced.function, lower_control_flow=False)
        graph, parts = with_parts(with_fragments(frozen.graph.as_graph_def(), traced.fragments))
        self._graph, self._weights = with_weights_apart(with_differences(graph))
        self._inputs = dict(zip([spec.name for spec in traced.inputs], [t.name for t in _fed(frozen)], strict=True))
        self.batch = int(traced.inputs[0].shape[0])
        names = sorted(spec.name for spec in traced.outputs)  # the flat outputs of a function that gives a dict
        self._sources = _Sources(
            self._graph, {_node(name): key for key, name in self._inputs.items()}, set(parts.values())
        )
        ends = dict(zip(names, [parts.get(tensor.name, _node(tensor.name)) for tensor in frozen.outputs], strict=True))
        self.outputs: Mapping[str, str] = {name: self._sources.origin(node) or node for name, node in ends.items()}
        self.tensors: Sequence[LayerTensor] = tuple(
            _described(self._sources, named or names_of(traced), traced.traced.data_format)
        )
        self._names = [tensor.name for tensor in self.tensors]
        self._sessions: dict[str, Any] = {}
        self._replaced: dict[str, frozenset[str]] = {}
        self._stored: dict[tuple[str, Rounding], Arrays] = {}
        self._rows: dict[str, Rows] = self._held({spec.name: _any(spec.shape, spec.dtype) for spec in traced.inputs})
        self._names = list(self._rows)
        self.tensors = tuple(tensor for tensor in self.tensors if tensor.name in self._names)

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        return self._run("float32", inputs, {}, "")

    def exact(self, inputs: Arrays, given: Arrays | None = None, weights: Rounding = "") -> dict[str, np.ndarray]:
        return self._run("float64", inputs, given or {}, weights)

    def _run(self, dtype: str, inputs: Arrays, given: Arrays, weights: Rounding) -> dict[str, np.ndarray]:
        session = self._session(dtype, given)
        find = session.graph.get_tensor_by_name
        fed = self._fed(session, self._weights_as(dtype, weights))
        samples = len(next(iter(inputs.values())))
        parts: dict[str, list[np.ndarray]] = {name: [] for name in self._names}
        for start in range(0, samples - samples % self.batch, self.batch):
            chunk = slice(start, start + self.batch)
            feed = dict(fed)
            for key, array in {**inputs, **given}.items():
                tensor = find(self._inputs.get(key, f"{key}{FEED}:0"))
                part = array[chunk] if key in self._inputs else as_called(array[chunk], self._rows[key])
                feed[tensor] = np.asarray(part, tensor.dtype.as_numpy_dtype)
            values = session.run([f"{name}:0" for name in self._names], feed)
            for name, value in zip(self._names, values, strict=True):
                parts[name].append(by_sample(value, self.batch, self._rows[name]))
        return {name: np.concatenate(each) for name, each in parts.items()}

    def _factors(self) -> dict[str, np.ndarray]:
        """By product with weights, what each of its channels is multiplied with right behind it."""
        found = factors(self._graph, self._sources.depends)
        values = self._constants(found.values())
        return {product: values[name].reshape(-1) for product, name in found.items()}

    def _constants(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """What nodes give that depend on no input."""
        session, names = self._session("float64"), list(names)
        values = session.run([f"{name}:0" for name in names], self._fed(session, self._weights_as("float64", "")))
        return {name: np.asarray(value, np.float64) for name, value in zip(names, values, strict=True)}

    def _held(self, inputs: Arrays) -> dict[str, Rows]:
        """How each tensor holds the samples of a call, of those that do; it is found by exchanging them."""
        session = self._session("float32")
        fed = self._fed(session, self._weights_as("float32", ""))

        def values(turned: int) -> list[np.ndarray]:
            given = {name: np.roll(value, turned, axis=0) for name, value in inputs.items()}
            feed = {session.graph.get_tensor_by_name(self._inputs[name]): value for name, value in given.items()}
            found: list[np.ndarray] = session.run([f"{name}:0" for name in self._names], {**fed, **feed})
            return found

        first = values(0)
        rolled = values(1) if self.batch > 1 else first
        ways = (rows_of(*each, self.batch) for each in zip(first, rolled, strict=True))
        return {name: way for name, way in zip(self._names, ways, strict=True) if way is not None}

    def close(self) -> None:
        """Give back the memory of its sessions and of weights in other types, which are made again when needed."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()
        self._stored.clear()

    def _weights_as(self, dtype: str, rounding: Rounding) -> Arrays:
        kind = dtype, rounding
        if kind not in self._stored and rounding == "8 bits, apart":
            alone = self._constants(apart(self._graph, self._sources.depends))
            rounded = {name: to_eight_bits(value) for name, value in alone.items()}
            self._stored[kind] = {**self._weights_as(dtype, ""), **rounded}
        elif kind not in self._stored and rounding:
            plain = self._weights_as(dtype, "")
            folded = self._factors() if rounding == "8 bits, one scale" else {}
            self._stored[kind] = {**plain, **rounded_weights(self._graph, plain, rounding, folded)}
        elif kind not in self._stored:
            self._stored[kind] = {name: value.astype(dtype, copy=False) for name, value in self._weights.items()}
        return self._stored[kind]

    def _fed(self, session: Any, weights: Arrays) -> dict[Any, np.ndarray]:
        return {session.graph.get_tensor_by_name(f"{name}:0"): value for name, value in weights.items()}

    def _session(self, dtype: str, given: Iterable[str] = ()) -> Any:
        """One in which the tensors `given` are to be replaced.

        TensorFlow keeps a copy of the graph for every set of them, so a session is used for one set.
        """
        import tensorflow as tf

        replaced = frozenset(given)
        old = self._sessions.get(dtype)
        if old is None or self._replaced[dtype] != replaced:
            graph = self._opened(dtype) if old is None else old.graph
            if old is not None:
                old.close()
            self._sessions[dtype] = tf.compat.v1.Session(graph=graph, config=_as_it_stands())
            self._replaced[dtype] = replaced
        return self._sessions[dtype]

    def _opened(self, dtype: str) -> Any:
        import tensorflow as tf

        definition = with_feeds(self._graph, {tensor.name for tensor in self.tensors})
        if dtype == "float64":
            definition = doubled(definition)
        graph = tf.Graph()
        with graph.as_default():
            try:
                tf.graph_util.import_graph_def(definition, name="")
            except ValueError as error:
                raise ModelError(f"the model's graph has no {dtype} form: {str(error).splitlines()[0]}") from error
        return graph


def _as_it_stands() -> Any:
    """A session's configuration that runs every operation of the graph, on the CPU."""
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config


def _any(shape: Sequence[int], dtype: str) -> np.ndarray:
    """Numbers that differ from sample to sample."""
    random = np.random.default_rng(0)
    found = random.random(shape) if np.dtype(dtype).kind == "f" else random.integers(0, 2, shape)
    return found.astype(dtype)


def _fed(frozen: Any) -> list[Any]:
    import tensorflow as tf

    return [tensor for tensor in frozen.inputs if tensor.dtype != tf.resource]


def _node(name: str) -> str:
    return name.removeprefix("^").split(":")[0]


class _Sources:
    """What each node of a graph is computed from, as far as that depends on the inputs of the model."""

    def __init__(self, graph: Any, inputs: Mapping[str, str], parts: set[str]) -> None:
        self.nodes = {node.name: node for node in graph.node}
        self.inputs, self._parts = inputs, parts
        self._depends: dict[str, bool] = {}
        for node in graph.node:  # a frozen graph is not always in order, hence the stack
            self._settle(node.name)

    def _settle(self, name: str) -> None:
        stack = [name]
        while stack:
            node = self.nodes[stack[-1]]
            waiting = [each for each in map(_node, node.input) if each not in self._depends]
            if waiting and node.name not in self.inputs:
                stack.extend(waiting)
                continue
            found = any(self._depends[_node(each)] for each in node.input) if node.name not in self.inputs else True
            self._depends[stack.pop()] = found

    def depends(self, name: str) -> bool:
        """Whether the node's value depends on the inputs."""
        return self._depends[name]

    def listed(self) -> Iterator[Any]:
        """The nodes that give a tensor of their own, in the order of computation."""
        done: set[str] = set()
        for first in self.nodes:
            stack = [first]
            while stack:
                node = self.nodes[stack[-1]]
                waiting = [each for each in map(_node, node.input) if each not in done]
                if waiting:
                    stack.extend(waiting)
                    continue
                stack.pop()
                if node.name not in done:
                    done.add(node.name)
                    if self._own(node):
                        yield node

    def _own(self, node: Any) -> bool:
        if node.name in self.inputs or not self.depends(node.name) or self._moves(node):
            return False
        types = [node.attr[key].type for key in ("T", "dtype") if key in node.attr]
        return node.op in CALLS or 1 in types  # DT_FLOAT

    def origin(self, name: str) -> str:
        """The tensor, or the model's input, whose numbers a node holds; empty where it has them from no input."""
        while name not in self.inputs and self.depends(name) and self._moves(self.nodes[name]):
            name = self._moved(self.nodes[name])
        return self.inputs.get(name, name) if self.depends(name) else ""

    def sources(self, node: Any) -> tuple[str, ...]:
        """The tensors and inputs of the model that a node is computed from."""
        found: list[str] = []
        for each in self.owner(node).input:
            name = self.origin(_node(each))
            if name and not self._is_own(name):
                found += self.sources(self.nodes[name])
            elif name:
                found.append(name)
        return tuple(dict.fromkeys(found))

    def turned(self, node: Any) -> Iterator[tuple[str, str, tuple[int, ...]]]:
        """Of each transposition right behind a source of a node: its name, the source, and the order of the axes."""
        for name in map(_node, self.owner(node).input):
            source = self.origin(name)
            passed: list[Any] = []
            while source and name not in self.inputs and self._moves(self.nodes[name]):
                passed.append(self.nodes[name])
                name = self._moved(self.nodes[name])
            kept = [each for each in passed if each.op not in _STILL]
            if kept and kept[-1].op == "Transpose" and (axes := self._constant(kept[-1].input[1])) is not None:
                yield kept[-1].name, source, tuple(int(axis) for axis in axes)

    def owner(self, node: Any) -> Any:
        """The operation that a node's result is one of."""
        return self.nodes[_node(node.input[0])] if node.name in self._parts else node

    def _moves(self, node: Any) -> bool:
        return bool(self._moved(node)) and node.name not in self._parts

    def _moved(self, node: Any) -> str:
        """The node whose numbers are this one's too, or empty."""
        if node.op in MOVED:
            return _node(node.input[0])
        if node.op == "Mul":  # swish, whose slope is 1, multiplies with that
            one, other = map(_node, node.input[:2])
            return one if self._is_one(other) else other if self._is_one(one) else ""
        return ""

    def _is_one(self, name: str) -> bool:
        found = self._constant(name)
        return found is not None and not found.shape and bool(found == 1)

    def _constant(self, name: str) -> np.ndarray | None:
        import tensorflow as tf

        node = self.nodes[_node(name)]
        if node.op != "Const":
            return None
        value: np.ndarray = tf.make_ndarray(node.attr["value"].tensor)
        return value

    def _is_own(self, name: str) -> bool:
        return name in self.inputs.values() or self._own(self.nodes[name])


def _described(sources: _Sources, named: Named, data_format: str) -> Iterator[LayerTensor]:
    for node in sources.listed():
        layer, block, gate = named.of(sources.owner(node).name.removesuffix(DIFFERENCE))
        weighted = node.op in WEIGHTED or node.op in CALLS
        # TensorFlow has no channels-first convolution on the CPU: Keras turns the map in front of it and behind.
        axis = 1 if data_format == "channels_first" and not weighted else -1
        turns = tuple(
            Turn(turner, source, axes)
            for name, source, axes in sources.turned(node)
            if (turner := named.of(name)[0]) not in (layer, named.of(source)[0])  # a layer of its own
        )
        read = sources.sources(node)
        yield LayerTensor(node.name, sources.owner(node).op, layer, block, gate, read, weighted, axis, turns=turns)
