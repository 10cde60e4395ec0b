from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef

from app.network.devices import has_bfloat16
from app.network.fusion import fused
from app.network.sixteen_bits import in_16_bits
from app.network.thin_convolutions import NARROWEST, PIXELS, shifted, thin_convolutions_widened

RNG = np.random.default_rng(0)
# Sums of 27 products around 1 in another order, in float32.
ROUNDING = 1e-5


def graph(
    width: int = NARROWEST,
    kernel: tuple[int, int] = (3, 3),
    channels: int = 1,
    padding: str = "SAME",
    **options: Any,
) -> GraphDef:
    weights = RNG.normal(size=(*kernel, 3, channels)).astype(np.float32)
    with tf.Graph().as_default() as whole:
        x = tf.compat.v1.placeholder(tf.float32, [None, 12, width, 3], "x")
        y = tf.nn.conv2d(x, weights, **({"strides": 1} | options), padding=padding)
        tf.identity(tf.nn.bias_add(y, RNG.normal(size=channels).astype(np.float32)), name="y")
    definition: GraphDef = whole.as_graph_def()
    return definition


def run(definition: GraphDef) -> np.ndarray:
    width = next(node for node in definition.node if node.name == "x").attr["shape"].shape.dim[2].size
    x = np.random.default_rng(1).normal(size=(2, 12, width, 3)).astype(np.float32)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(definition, name="")
        return np.asarray(session.run("y:0", {"x:0": x}))


@pytest.mark.parametrize("kernel", [(3, 3), (1, 5), (5, 7), (3, 2), (2, 4)])
@pytest.mark.parametrize("width", [NARROWEST, NARROWEST + PIXELS])
def test_the_convolution_stays_the_same(width: int, kernel: tuple[int, int]) -> None:
    definition = graph(width, kernel)
    rewritten = thin_convolutions_widened(definition)
    (convolution,) = (node for node in rewritten.node if node.op == "Conv2D")
    assert list(convolution.attr["strides"].list.i) == [1, 1, PIXELS, 1]
    np.testing.assert_allclose(run(rewritten), run(definition), atol=ROUNDING)


@pytest.mark.skipif(not has_bfloat16(), reason="graphs are fused for CPUs with bfloat16")
def test_it_stays_the_same_when_fused_and_in_16_bits() -> None:
    definition = graph()
    quick = in_16_bits(fused(thin_convolutions_widened(definition)), "bfloat16")
    exact = run(definition)
    difference = np.abs(run(quick) - exact)
    assert 0 < difference.max() < 0.02 * np.abs(exact).max()
    assert Counter(node.op for node in quick.node)["Conv2D"] == 0


@pytest.mark.parametrize(
    "definition",
    [
        graph(channels=2),
        graph(width=NARROWEST - PIXELS),
        graph(width=NARROWEST + 1),
        graph(kernel=(1, 1)),
        graph(padding="VALID"),
        graph(strides=2),
        graph(dilations=2),
    ],
    ids=["two channels", "narrow", "odd width", "one pixel", "no padding", "stride", "dilation"],
)
def test_other_convolutions_are_left_alone(definition: GraphDef) -> None:
    assert list(thin_convolutions_widened(definition).node) == list(definition.node)


def test_convolution_whose_result_is_taken_without_its_bias_is_left_alone() -> None:
    with tf.Graph().as_default() as whole:
        x = tf.compat.v1.placeholder(tf.float32, [None, 12, NARROWEST, 3], "x")
        bare = tf.nn.conv2d(x, np.ones((3, 3, 3, 1), np.float32), 1, "SAME")
        tf.identity(tf.nn.bias_add(bare, [0.5]) + bare, name="y")
    definition = whole.as_graph_def()
    assert list(thin_convolutions_widened(definition).node) == list(definition.node)


def test_weights_stand_once_for_each_pixel_at_its_place() -> None:
    wide = shifted(np.float32([[[[1.0]], [[2.0]], [[3.0]]]]))
    assert wide.shape == (1, PIXELS + 2, 1, PIXELS)
    assert wide[0, :, 0, 0].tolist() == [1, 2, 3] + [0] * (PIXELS - 1)
    assert wide[0, :, 0, -1].tolist() == [0] * (PIXELS - 1) + [1, 2, 3]
