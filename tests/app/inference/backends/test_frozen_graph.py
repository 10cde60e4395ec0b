from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from app.inference.backends.frozen_graph import FrozenGraph, constant_node, freeze, node_of

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(300, 200)).astype(np.float16)


class Model(tf.Module):
    """Two variables behind a function in a function, with arithmetic that TensorFlow leaves to each call."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(KERNEL)
        self.step = tf.Variable(4.0)

    @tf.function(input_signature=[tf.TensorSpec([None, 300], tf.float32)])
    def inner(self, x: tf.Tensor) -> tf.Tensor:
        first, second = tf.split(tf.cast(self.kernel, tf.float32) * tf.math.rsqrt(self.step), 2, axis=1)
        return tf.nn.relu(x @ first) + x @ second

    @tf.function(input_signature=[tf.TensorSpec([None, 300], tf.float32, name="x")])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"alpha": self.inner(x), "constant": tf.cast(self.kernel, tf.float32) + 1.0, "twice": x + x}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved")
    model = Model()
    tf.saved_model.save(model, str(path), signatures={"serving": model.serve})
    return path


def run(graph: FrozenGraph, x: np.ndarray) -> np.ndarray:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(graph.definition, name="")
        return np.asarray(session.run(graph.output, {graph.input: x}))


@pytest.mark.parametrize("name", ["alpha", "twice", "constant"])
def test_the_function_stays_the_same(saved: Path, name: str) -> None:
    x = RNG.normal(size=(5, 300)).astype(np.float32)
    expected = tf.saved_model.load(str(saved)).signatures["serving"](x=tf.constant(x))[name]
    np.testing.assert_array_equal(run(freeze(saved, "serving", "x", name), x), expected)


def test_variables_calls_and_arithmetic_on_constants_are_gone(saved: Path) -> None:
    operations = Counter(node.op for node in freeze(saved, "serving", "x", "alpha").definition.node)
    assert operations["MatMul"] == 2
    assert operations["Placeholder"] == 1
    assert set(operations).isdisjoint(
        {"Cast", "Rsqrt", "Mul", "VarHandleOp", "ReadVariableOp", "StatefulPartitionedCall"}
    )


def test_what_depends_on_chance_is_left_to_each_call(tmp_path: Path) -> None:
    class Dice(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"alpha": x + tf.random.uniform([1])}

    dice = Dice()
    tf.saved_model.save(dice, str(tmp_path), signatures={"serving": dice.serve})
    graph = freeze(tmp_path, "serving", "x", "alpha")
    x = np.zeros(1, np.float32)
    assert len({float(run(graph, x)[0]) for _ in range(5)}) > 1


def test_unknown_signature_is_a_key_error(saved: Path) -> None:
    with pytest.raises(KeyError):
        freeze(saved, "other", "x", "alpha")


def test_no_saved_model_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="SavedModel"):
        freeze(tmp_path, "serving", "x", "alpha")


@pytest.mark.parametrize("tensor", ["a/b", "a/b:0", "a/b:12", "^a/b"])
def test_a_tensor_comes_from_its_node(tensor: str) -> None:
    assert node_of(tensor) == "a/b"


@pytest.mark.parametrize("dtype", [np.float32, np.int32, tf.bfloat16.as_numpy_dtype])
def test_constant_has_the_value_and_its_type(dtype: type) -> None:
    value = np.array([[1, 2], [3, 4]]).astype(dtype)
    definition = tf.compat.v1.GraphDef(node=[constant_node("value", value)])
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(definition, name="")
        found = session.run("value:0")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, value)
