from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef

from app.inference.backends.frozen_graph import in_16_bits
from app.inference.backends.precision import Narrow

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(3, 3, 4, 8)).astype(np.float32) / 6
IMAGE = RNG.random((2, 16, 16, 4)).astype(np.float32)
# Two operations in a row that keep 8 bits of a number each: a few times 2**-8 of values around 1.
TOLERANCE = 0.03


def graph() -> GraphDef:
    """Convolution, bias, ReLU and pooling, two ways joined by an addition, and a resize in float32 between."""
    with tf.Graph().as_default() as whole:
        x = tf.compat.v1.placeholder(tf.float32, [None, 16, 16, 4], "x")
        kernel, bias = tf.constant(KERNEL, name="kernel"), tf.constant(np.full(8, 0.1, np.float32))
        y = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x * 2.0 - 1.0, kernel, 1, "SAME"), bias))
        half = tf.compat.v1.image.resize_bilinear(
            tf.nn.max_pool2d(y, 2, 2, "SAME"), [16, 16], half_pixel_centers=True
        )
        tf.sigmoid(tf.reduce_mean(tf.concat([half + y, y], axis=3), axis=3), name="alpha")
        # float32 takes part in both precisions
        tf.identity(tf.reduce_sum(kernel), name="total")
        definition: GraphDef = whole.as_graph_def()
    return definition


def run(definition: GraphDef, name: str = "alpha:0") -> np.ndarray:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(definition, name="")
        return np.asarray(session.run(name, {"x:0": IMAGE}))


@pytest.mark.parametrize(("kind", "tolerance"), [("bfloat16", TOLERANCE), ("float16", TOLERANCE / 8)])
def test_the_answer_is_the_same_to_sixteen_bits(kind: Narrow, tolerance: float) -> None:
    exact, quick = run(graph()), run(in_16_bits(graph(), kind))
    assert quick.dtype == np.float32
    assert 0 < np.abs(exact - quick).max() < tolerance


def test_listed_operations_calculate_in_16_bits_and_the_others_do_not() -> None:
    types = {
        node.name: node.attr["T"].type for node in in_16_bits(graph(), "bfloat16").node if "T" in node.attr
    }
    coarse = {name for name, kind in types.items() if kind == tf.bfloat16.as_datatype_enum}
    operations = Counter(node.op for node in in_16_bits(graph(), "bfloat16").node if node.name in coarse)
    assert operations == {"Conv2D": 1, "BiasAdd": 1, "Relu": 1, "MaxPool": 1, "AddV2": 1, "ConcatV2": 1}


def test_weights_are_held_once_for_each_precision_that_needs_them() -> None:
    names = [node.name for node in in_16_bits(graph(), "bfloat16").node]
    assert len(names) == len(set(names))
    assert {"kernel", "kernel/bfloat16"} <= set(names)  # the sum takes float32
    assert run(in_16_bits(graph(), "bfloat16"), "total:0") == pytest.approx(KERNEL.sum())


def test_weights_that_nobody_needs_in_float32_are_dropped() -> None:
    definition = graph()
    kept = [node for node in definition.node if node.name != "total" and node.op != "Sum"]
    names = [
        node.name for node in in_16_bits(GraphDef(versions=definition.versions, node=kept), "bfloat16").node
    ]
    assert "kernel" not in names


def test_graph_without_convolutions_stays_as_it_is() -> None:
    with tf.Graph().as_default() as whole:
        tf.identity(tf.compat.v1.placeholder(tf.float32, [2], "x") * 3.0, name="alpha")
    definition = whole.as_graph_def()
    assert [n.name for n in in_16_bits(definition, "bfloat16").node] == [n.name for n in definition.node]
