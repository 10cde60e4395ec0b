from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from app.network.graph_nodes import (
    constant_node,
    constant_value,
    in_float32,
    joined,
    node_of,
    operation,
    part_of,
    reshaped,
    users_of,
    with_shapes,
)


@pytest.mark.parametrize("tensor", ["a/b", "a/b:0", "a/b:12", "^a/b"])
def test_a_tensor_comes_from_its_node(tensor: str) -> None:
    assert node_of(tensor) == "a/b"


@pytest.mark.parametrize("dtype", [np.float32, np.int32, tf.bfloat16.as_numpy_dtype])
def test_constant_has_the_value_and_its_type(dtype: type) -> None:
    value = np.array([[1, 2], [3, 4]]).astype(dtype)
    definition = tf.compat.v1.GraphDef(node=[constant_node("value", value)])
    operation = with_shapes(definition).get_operation_by_name("value")
    assert operation.outputs[0].shape == (2, 2)
    with tf.compat.v1.Session(graph=operation.graph) as session:
        found = session.run("value:0")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, value)
    np.testing.assert_array_equal(constant_value(definition.node[0]), value)


def test_shapes_are_known_without_the_weights() -> None:
    weights = np.arange(30_000, dtype=np.float32).reshape(100, 300)
    definition = tf.compat.v1.GraphDef(
        node=[constant_node("weights", weights), *reshaped("y", "weights", (-1, 400))]
    )
    shapes = with_shapes(definition)
    assert shapes.get_operation_by_name("y").outputs[0].shape == (75, 400)
    assert shapes.as_graph_def().ByteSize() < weights.nbytes < definition.ByteSize()


def test_what_is_no_constant_has_no_value() -> None:
    assert constant_value(operation("sum", "AddV2", ["a", "b"])) is None


def test_who_takes_a_node_twice_uses_it_twice() -> None:
    double, half = operation("double", "AddV2", ["x:0", "x"]), operation("half", "Mul", ["double", "^x"])
    users = users_of(tf.compat.v1.GraphDef(node=[double, half]))
    assert {name: [node.name for node in nodes] for name, nodes in users.items()} == {
        "x": ["double", "double", "half"],
        "double": ["half"],
    }


def test_new_nodes_do_what_they_say_and_the_last_has_the_name() -> None:
    x = np.arange(12, dtype=np.float32)
    nodes = [constant_node("x", x), *reshaped("table", "x", (3, -1))]
    nodes += part_of("part", "table", (1, 0), (-1, 2))
    nodes += in_float32(joined("both", ["part", "part"], axis=1))
    assert nodes[-1].name == "both"
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(tf.compat.v1.GraphDef(node=nodes), name="")
        part = x.reshape(3, 4)[1:, :2]
        np.testing.assert_array_equal(session.run("part:0"), part)
        np.testing.assert_array_equal(session.run("both:0"), np.concatenate([part, part], axis=1))
