"""The ONNX nodes of a lowered block (`converters.deploy.fragment`) -> TensorFlow operations in the model's graph.

A block that is written as ONNX nodes of its own is held against those very sums. They are proved equal to the block in
float64 when it is lowered; here they are only said once more in the graph that gives all other tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from converters.deploy.fragment import Fragment
from converters.errors import ModelError

_OPSET: Final = 17
"""Up to this one, axes are attributes, which is simpler to read; the sums are the same."""

Settings = Mapping[str, Any]


def with_fragments(graph: Any, fragments: Mapping[str, Fragment]) -> Any:
    """A frozen GraphDef with its marked blocks computed as their fragments do. The given one is changed.

    Raises:
        ModelError: a fragment has a node that is not known here.
    """
    from converters.deploy.splice import mark

    if not fragments:
        return graph
    ends = _ends(graph)
    marked = mark(graph, fragments)
    nodes = {node.name: node for node in graph.node}
    for name, fragment in marked.items():
        leave = nodes[name]
        mean = None if name in ends else _mean_behind(graph, name)
        made = leave if mean is None else mean
        # What `splice` names the tensors after, so that those of a file are found by their names too.
        scope = made.name
        definition, last = _translated(fragment, scope, mean=mean is not None)
        taken = leave.input[0]
        for node in definition.node:
            if node.name == f"{scope}/taken":
                continue
            node.input[:] = [taken if each == f"{scope}/taken" else each for each in node.input]
            graph.node.add().CopyFrom(node)
        made.op = "Identity"
        made.input[:] = [last]
        for setting in set(made.attr) - {"T", "_output_shapes"}:
            del made.attr[setting]
    _keep_what_is_read(graph, ends)
    return graph


def _mean_behind(graph: Any, name: str) -> Any:
    """The mean over a map (1, H, W, C) to (1, C) that alone reads a block's result: `splice` makes both one."""
    from tensorflow.python.framework.tensor_util import MakeNdarray

    readers = [node for node in graph.node if name in map(_node, node.input)]
    if len(readers) != 1 or readers[0].op != "Mean" or readers[0].attr["keep_dims"].b:
        return None
    axes = next((node for node in graph.node if node.name == _node(readers[0].input[1])), None)
    if axes is None or axes.op != "Const":
        return None
    return readers[0] if sorted(MakeNdarray(axes.attr["value"].tensor).reshape(-1).tolist()) == [1, 2] else None


def _keep_what_is_read(graph: Any, ends: Sequence[str]) -> None:
    nodes = {node.name: node for node in graph.node}
    needed: set[str] = set()
    stack = list(ends)
    while stack:
        name = stack.pop()
        if name not in needed:
            needed.add(name)
            stack += [_node(each) for each in nodes[name].input]
    kept = [node for node in graph.node if node.name in needed]
    del graph.node[:]
    graph.node.extend(kept)


def _node(name: str) -> str:
    return name.removeprefix("^").split(":")[0]


def _ends(graph: Any) -> list[str]:
    """The nodes that nothing reads: the model's outputs, and inputs that it does not use."""
    read = {_node(name) for node in graph.node for name in node.input}
    kept = [node.name for node in graph.node if node.name not in read and node.op != "NoOp"]
    return kept + [node.name for node in graph.node if node.op == "Placeholder" and node.name in read]


def _translated(fragment: Fragment, scope: str, mean: bool) -> tuple[Any, str]:
    """A GraphDef that reads the placeholder `scope/taken` (1, H, W, C), and the node that gives the result, or with
    `mean` its mean over the map."""
    import tensorflow as tf
    from onnx import helper, numpy_helper

    from converters.deploy.makers import own_values

    block = fragment.block
    nodes, constants = fragment.nodes(("first", "last", "output"), own_values, ("float32", _OPSET), mean=mean)
    with tf.Graph().as_default() as graph, tf.name_scope(f"{scope}/"):
        taken = tf.compat.v1.placeholder(tf.float32, (1, block.height, block.width, block.channels), name="taken")
        known = {"last": taken, "first": tf.transpose(taken, [0, 3, 1, 2])}
        arrays = {each.name: numpy_helper.to_array(each) for each in constants}
        for node in nodes:
            if node.op_type not in _MADE:
                raise ModelError(f"block {block.name!r}: ONNX {node.op_type} cannot be searched")
            settings = {each.name: helper.get_attribute_value(each) for each in node.attribute}
            given = [known[each] if each in known else arrays[each] for each in node.input]
            known[node.output[0]] = _MADE[node.op_type](given, settings, node.name.rpartition("/")[2])
        result = known["output"].op.name
    return graph.as_graph_def(), result


def _concat(given: Sequence[Any], settings: Settings, name: str) -> Any:
    import tensorflow as tf

    return tf.concat(list(given), settings["axis"], name=name)


def _gemm(given: Sequence[Any], settings: Settings, name: str) -> Any:
    import tensorflow as tf

    turned = bool(settings.get("transB", 0))
    if len(given) == 2:
        return tf.matmul(given[0], given[1], transpose_b=turned, name=name)
    return tf.add(tf.matmul(given[0], given[1], transpose_b=turned), given[2], name=name)


def _gather(given: Sequence[Any], settings: Settings, name: str) -> Any:
    import tensorflow as tf

    return tf.gather(given[0], given[1], axis=settings["axis"], name=name)


def _conv(given: Sequence[Any], settings: Settings, name: str) -> Any:
    """TensorFlow convolves channels last on the CPU, and in groups only of one channel each, by another operation."""
    import tensorflow as tf

    top, left, bottom, right = settings["pads"]
    x = tf.transpose(given[0], [0, 2, 3, 1])
    pads = [[0, 0], [top, bottom], [left, right], [0, 0]]
    strides, called = [1, *settings.get("strides", (1, 1)), 1], name if len(given) == 2 else None
    if settings.get("group", 1) == 1:
        made = tf.nn.conv2d(x, given[1].transpose(2, 3, 1, 0), strides, padding=pads, name=called)
    else:
        made = tf.nn.depthwise_conv2d(x, given[1].transpose(2, 3, 0, 1), strides, padding=pads, name=called)
    if len(given) == 3:
        made = tf.nn.bias_add(made, given[2], name=name)
    return tf.transpose(made, [0, 3, 1, 2])


def _slice(given: Sequence[Any], settings: Settings, name: str) -> Any:
    (start,), (end,), (axis,) = (each.tolist() for each in given[1:4])
    return given[0][tuple(slice(start, end) if place == axis else slice(None) for place in range(axis + 1))]


def _reduced(kind: str) -> Callable[[Sequence[Any], Settings, str], Any]:
    def made(given: Sequence[Any], settings: Settings, name: str) -> Any:
        import tensorflow as tf

        axes = settings["axes"] if "axes" in settings else given[1].tolist()
        return getattr(tf, kind)(given[0], list(axes), keepdims=bool(settings["keepdims"]), name=name)

    return made


def _pooled(kind: str) -> Callable[[Sequence[Any], Settings, str], Any]:
    def made(given: Sequence[Any], settings: Settings, name: str) -> Any:
        import tensorflow as tf

        return getattr(tf, kind)(given[0], [2, 3], keepdims=True, name=name)

    return made


def _called(path: str) -> Callable[[Sequence[Any], Settings, str], Any]:
    def made(given: Sequence[Any], settings: Settings, name: str) -> Any:
        import tensorflow as tf

        function = tf
        for name in path.split("."):
            function = getattr(function, name)
        return function(*given, name=name)

    return made


def _hard_sigmoid(given: Sequence[Any], settings: Settings, name: str) -> Any:
    import tensorflow as tf

    return tf.clip_by_value(settings["alpha"] * given[0] + settings["beta"], 0.0, 1.0, name=name)


def _transposed(given: Sequence[Any], settings: Settings, name: str) -> Any:
    import tensorflow as tf

    return tf.transpose(given[0], list(settings["perm"]))


_MADE: Final[Mapping[str, Callable[[Sequence[Any], Settings, str], Any]]] = {
    "Add": _called("add"),
    "Concat": _concat,
    "Conv": _conv,
    "Expand": _called("broadcast_to"),
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": _pooled("reduce_mean"),
    "GlobalMaxPool": _pooled("reduce_max"),
    "HardSigmoid": _hard_sigmoid,
    "MatMul": _called("matmul"),
    "Mul": _called("multiply"),
    "ReduceMax": _reduced("reduce_max"),
    "ReduceMean": _reduced("reduce_mean"),
    "ReduceSum": _reduced("reduce_sum"),
    "Relu": _called("nn.relu"),
    "Reshape": _called("reshape"),
    "Sigmoid": _called("sigmoid"),
    "Slice": _slice,
    "Transpose": _transposed,
}
