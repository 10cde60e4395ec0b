from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from app.inference.backends.frozen_graph import constant_node, node_of


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
