from __future__ import annotations

import numpy as np
import tensorflow as tf

from app.frozen_graph import with_constants_computed

KERNEL = np.random.default_rng(0).normal(size=(300, 200)).astype(np.float16)


def frozen() -> object:
    """Two outputs of one input, with arithmetic on constants that TensorFlow leaves to each call."""

    @tf.function(input_signature=[tf.TensorSpec([None, 300], tf.float32, name="x")], autograph=False)
    def function(x: tf.Tensor) -> dict[str, tf.Tensor]:
        kernel = tf.cast(tf.constant(KERNEL), tf.float32) * tf.math.rsqrt(tf.constant(4.0))
        first, second = tf.split(kernel, 2, axis=1)
        return {"a": x @ first, "b": tf.nn.relu(x @ second) + tf.constant(1.0)}

    return function.get_concrete_function()


def test_the_function_stays_the_same() -> None:
    function = frozen()
    x = tf.constant(np.random.default_rng(1).normal(size=(5, 300)).astype(np.float32))
    expected = function(x)  # type: ignore[operator]
    a, b = with_constants_computed(function)(x)
    np.testing.assert_array_equal(a, expected["a"])
    np.testing.assert_array_equal(b, expected["b"])


def test_arithmetic_on_constants_is_done() -> None:
    operations = [each.type for each in with_constants_computed(frozen()).graph.get_operations()]
    assert "MatMul" in operations
    assert not {"Cast", "Rsqrt", "Mul"} & set(operations)


def test_a_graph_without_such_arithmetic_is_left_alone() -> None:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def double(x: tf.Tensor) -> tf.Tensor:
        return x * tf.constant(2.0)

    (answer,) = with_constants_computed(double.get_concrete_function())(tf.constant([3.0]))
    assert answer.numpy().tolist() == [6.0]
