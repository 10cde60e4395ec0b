from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef

from app.network.devices import has_bfloat16
from app.network.fusion import FUSED, RENAMED, fused
from app.network.sixteen_bits import in_16_bits
from app.network.upsampling import resizes_as_products

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(2, 16, 16, 8)).astype(np.float32)
KERNELS = RNG.normal(size=(4, 3, 3, 8, 8)).astype(np.float32) / 8
BIASES = RNG.normal(size=(4, 8)).astype(np.float32)

pytestmark = pytest.mark.skipif(not has_bfloat16(), reason="graphs are fused for CPUs with bfloat16")


def graph() -> GraphDef:
    """ReLU behind one convolution, none behind the next, dilation, stride, pooling, a resize and two sums."""
    with tf.Graph().as_default() as whole:
        x = tf.compat.v1.placeholder(tf.float32, [None, 16, 16, 8], "x")
        first = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, KERNELS[0], 1, "SAME"), BIASES[0]))
        second = tf.nn.bias_add(tf.nn.conv2d(first, KERNELS[1], 1, "SAME", dilations=2), BIASES[1])
        third = tf.nn.bias_add(
            tf.nn.conv2d(tf.nn.max_pool2d(second, 2, 2, "SAME"), KERNELS[2], 2, "SAME"), BIASES[2]
        )
        up = tf.compat.v1.image.resize_bilinear(third, [16, 16], half_pixel_centers=True)
        # A convolution that is also used without its bias cannot be swallowed.
        bare = tf.nn.conv2d(up, KERNELS[3], 1, "SAME")
        both = tf.nn.relu(tf.nn.bias_add(bare, BIASES[3])) + bare
        tf.identity(both + first + tf.constant(0.5), name="y")
    definition: GraphDef = whole.as_graph_def()
    return definition


def run(definition: GraphDef) -> np.ndarray:
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    with tf.Graph().as_default(), tf.compat.v1.Session(config=config) as session:
        tf.import_graph_def(definition, name="")
        return np.asarray(session.run("y:0", {"x:0": IMAGE}))


def test_the_answer_stays_the_same() -> None:
    # float32 in another order
    np.testing.assert_allclose(run(fused(resizes_as_products(graph()))), run(graph()), atol=1e-4)


def test_everything_that_can_be_fused_is() -> None:
    operations = Counter(node.op for node in fused(resizes_as_products(graph())).node)
    # three convolutions with their biases, two sums of maps; the sum with a number stays
    assert operations[FUSED] == 3 + 2
    assert operations["AddV2"] == 1
    assert (operations["Conv2D"], operations["BiasAdd"], operations["Relu"]) == (1, 1, 1)
    assert operations[RENAMED["MaxPool"]] == 1
    assert operations[RENAMED["BatchMatMulV2"]] == 2
    assert "MaxPool" not in operations


def test_fused_graph_calculates_in_bfloat16() -> None:
    exact, quick = run(graph()), run(in_16_bits(fused(resizes_as_products(graph())), "bfloat16"))
    difference = np.abs(quick - exact)
    assert 0 < difference.max() < 0.02 * np.abs(exact).max()


def test_names_of_the_ends_are_kept() -> None:
    names = [node.name for node in in_16_bits(fused(graph()), "bfloat16").node]
    assert len(names) == len(set(names))
    assert {"x", "y"} <= set(names)
