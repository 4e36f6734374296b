"""Multiply-adds of graphs, against counts by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import pytest
import tensorflow as tf

from converters.cost import Cost, cost
from converters.errors import ModelError
from converters.trace import trace_keras
from exporter.models.summary import summarise


def traced(function: Callable[..., Any], *shapes: tuple[int | None, ...]) -> Cost:
    specs = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    return cost(tf.function(function).get_concrete_function(*specs))


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        (lambda x, k: tf.nn.conv2d(x, k, 2, "SAME"), [(2, 9, 8, 3), (3, 5, 3, 7)], (2 * 5 * 4 * 7 * 45, 1, 45)),
        (
            lambda x, k: tf.nn.conv2d(x, k, 2, "SAME", data_format="NCHW"),
            [(2, 3, 9, 8), (3, 5, 3, 7)],
            (2 * 5 * 4 * 7 * 45, 1, 45),
        ),
        (
            lambda x, k: tf.nn.depthwise_conv2d(x, k, [1, 1, 1, 1], "VALID"),
            [(1, 8, 8, 4), (3, 3, 4, 2)],
            (6 * 6 * 8 * 9, 1, 9),
        ),
        (
            lambda x, k: tf.nn.depthwise_conv2d(x, k, [1, 1, 1, 1], "VALID", data_format="NCHW"),
            [(1, 4, 8, 8), (3, 3, 4, 2)],
            (6 * 6 * 8 * 9, 1, 9),
        ),
        (
            lambda x, k: tf.nn.conv3d(x, k, [1, 1, 1, 1, 1], "VALID"),
            [(1, 4, 5, 6, 2), (2, 3, 3, 2, 5)],
            (3 * 3 * 4 * 5 * 36, 1, 36),
        ),
        (
            lambda x, k: tf.nn.conv2d_transpose(x, k, [1, 8, 8, 5], 2, "SAME"),
            [(1, 4, 4, 6), (3, 3, 5, 6)],
            (4 * 4 * 6 * 9 * 5, 1, 2 * 2 * 6),
        ),
        (tf.matmul, [(2, 3), (3, 5)], (30, 1, 3)),
        (lambda a, b: tf.matmul(a, b, transpose_a=True), [(3, 2), (3, 5)], (30, 1, 3)),
        (tf.matmul, [(4, 1, 2, 3), (7, 3, 5)], (4 * 7 * 30, 1, 3)),
        (lambda a, b: tf.matmul(a, b, transpose_a=True), [(4, 3, 2), (4, 3, 5)], (4 * 30, 1, 3)),
        (lambda a, b: tf.einsum("bij,bkj->bik", a, b), [(2, 3, 4), (2, 5, 4)], (120, 1, 4)),
        (lambda a, b: tf.einsum("...ij,jk->...ik", a, b), [(2, 6, 3, 4), (4, 5)], (720, 1, 4)),
        (lambda a, b: tf.einsum("...i,...i->...", a, b), [(6, 3), (2, 1, 3)], (36, 1, 3)),
        (lambda a, b: a * b + tf.einsum("ij->ji", a), [(3, 3), (3, 3)], (0, 0, 0)),
    ],
)
def test_an_operation_counts_as_by_hand(
    function: Callable[..., Any], shapes: list[tuple[int, ...]], expected: tuple[int, int, int]
) -> None:
    assert traced(function, *shapes) == Cost(*expected)


def test_costs_add_up() -> None:
    assert Cost(3, 1, 9) + Cost(4, 2, 5) == Cost(7, 3, 9)


def test_a_called_function_counts_at_each_call() -> None:
    @tf.function  # type: ignore[untyped-decorator]
    def inner(x: Any, k: Any) -> Any:
        return tf.nn.conv2d(x, k, 1, "SAME")

    @tf.function  # type: ignore[untyped-decorator]
    def middle(x: Any, k: Any) -> Any:
        return inner(x, k) + inner(x, k)

    found = traced(lambda x, k: middle(x, k) + inner(x, k), (1, 4, 4, 2), (3, 3, 2, 2))
    assert found == Cost(3 * 16 * 2 * 18, 3, 18)


def test_a_grouped_convolution_of_keras_counts_its_groups() -> None:
    # Keras's TensorFlow backend runs it inside a compiled tf.function of its own.
    x = keras.Input((8, 8, 12))
    model = keras.Model(x, keras.layers.Conv2D(6, 3, groups=3, padding="same")(x))
    assert cost(trace_keras(model).function) == Cost(8 * 8 * 6 * 9 * 4, 1, 36)


def test_layers_of_other_kinds() -> None:
    x = keras.Input((10, 4))
    y = keras.layers.Conv1D(6, 3, padding="same")(x)
    y = keras.layers.SeparableConv1D(5, 3, padding="same")(y)
    y = keras.layers.Dense(7)(y)
    found = summarise(keras.Model(x, y)).multiply_adds
    assert found == 10 * (6 * 3 * 4 + (6 * 3 + 6 * 5) + 5 * 7)


def test_several_inputs_in_a_dict() -> None:
    inputs = {"a": keras.Input((3,), name="a"), "b": keras.Input((5,), name="b")}
    outputs = [keras.layers.Dense(2)(inputs["a"]), keras.layers.Dense(2)(inputs["b"])]
    assert summarise(keras.Model(inputs, outputs)).multiply_adds == 16


def test_a_sequential_model_and_a_fixed_batch() -> None:
    model = keras.Sequential([keras.Input((3,), batch_size=4), keras.layers.Dense(2)])
    assert summarise(model).multiply_adds == 4 * 6


def test_a_frozen_layer_is_not_trainable() -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, trainable=False), keras.layers.Dense(1)])
    found = summarise(model)
    assert (found.trainable, found.total) == (3, 11)


def test_an_open_shape_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match=r"MatMul 'MatMul' need static shapes; .*fixed batch"):
        traced(tf.matmul, (None, 3), (3, 5))


def test_a_product_in_a_loop_is_refused() -> None:
    def power(x: Any) -> Any:
        return tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, tf.matmul(y, x)), [0, x])[1]

    with pytest.raises(ModelError, match=r"While .* run a number of times that is not known"):
        traced(power, (3, 3))


def test_a_loop_without_products_is_free() -> None:
    def add(x: Any) -> Any:
        return tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y + x), [0, x])[1]

    assert traced(add, (3, 3)) == Cost()


def test_a_kind_that_cannot_be_counted_is_refused() -> None:
    with pytest.raises(ModelError, match=r"SparseMatMul .* cannot be counted"):
        traced(lambda a, b: tf.raw_ops.SparseMatMul(a=a, b=b), (2, 3), (3, 4))
