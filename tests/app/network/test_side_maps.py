from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef

from app.network.devices import has_bfloat16
from app.network.fusion import fused
from app.network.side_maps import side_maps_summed
from app.network.sixteen_bits import in_16_bits

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = 16, 24
# Sums of some products around 1 in another order, in float32.
ROUNDING = 1e-5


def graph(
    factors: Sequence[int] = (1, 2, 4, 8),
    *,
    kernel: int = 1,
    corners: bool = False,
    also: str = "",
) -> GraphDef:
    """Maps of a half, a quarter, … of the size, enlarged, joined and weighted. `also` is used besides: "join" or
    "resize"."""
    weights = RNG.normal(size=(kernel, kernel, len(factors), 1)).astype(np.float32)
    with tf.Graph().as_default() as whole:
        x = tf.compat.v1.placeholder(tf.float32, [None, HEIGHT, WIDTH, 1], "x")
        maps = []
        for factor in factors:
            small = tf.nn.avg_pool2d(x, factor, factor, "SAME") * float(factor)
            maps.append(small if factor == 1 else enlarged(small, corners=corners))
        join = tf.concat(maps, -1)
        y = tf.nn.bias_add(tf.nn.conv2d(join, weights, 1, "VALID"), [0.25])
        if also:
            y += tf.reduce_mean(join) if also == "join" else maps[-1]
        tf.sigmoid(y, name="y")
    definition: GraphDef = whole.as_graph_def()
    return definition


def enlarged(small: tf.Tensor, *, corners: bool = False) -> tf.Tensor:
    return tf.compat.v1.image.resize_bilinear(
        small, [HEIGHT, WIDTH], half_pixel_centers=not corners, align_corners=corners
    )


def run(definition: GraphDef) -> np.ndarray:
    x = np.random.default_rng(1).normal(size=(2, HEIGHT, WIDTH, 1)).astype(np.float32)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(definition, name="")
        return np.asarray(session.run("y:0", {"x:0": x}))


def operations(definition: GraphDef) -> Counter[str]:
    return Counter(node.op for node in definition.node)


@pytest.mark.parametrize("factors", [(1, 2, 4, 8), (2, 4), (2, 1, 8, 1)])
def test_the_sum_stays_the_same_as_one_product(factors: tuple[int, ...]) -> None:
    definition = graph(factors)
    rewritten = side_maps_summed(definition)
    assert operations(rewritten)["BatchMatMulV2"] == sum(factor > 1 for factor in factors) + 1
    assert operations(rewritten).keys().isdisjoint({"ResizeBilinear", "Conv2D", "BiasAdd"})
    np.testing.assert_allclose(run(rewritten), run(definition), atol=ROUNDING)


def test_map_that_others_take_too_is_enlarged_as_before() -> None:
    definition = graph(also="resize")
    rewritten = side_maps_summed(definition)
    assert operations(rewritten)["ResizeBilinear"] == 1
    np.testing.assert_allclose(run(rewritten), run(definition), atol=ROUNDING)


@pytest.mark.parametrize(
    "definition",
    [
        graph((1, 1)),
        graph(kernel=3),
        graph(corners=True),
        graph(also="join"),
    ],
    ids=["nothing enlarged", "wider kernel", "other resize", "joined maps are used"],
)
def test_other_sums_are_left_alone(definition: GraphDef) -> None:
    assert list(side_maps_summed(definition).node) == list(definition.node)


def test_maps_that_are_joined_along_their_rows_are_left_alone() -> None:
    with tf.Graph().as_default() as whole:
        x = tf.compat.v1.placeholder(tf.float32, [None, HEIGHT // 2, WIDTH // 2, 2], "x")
        join = tf.concat([enlarged(x), enlarged(-x)], 1)
        tf.nn.bias_add(tf.nn.conv2d(join, np.ones((1, 1, 2, 1), np.float32), 1, "VALID"), [0.25])
    definition = whole.as_graph_def()
    assert list(side_maps_summed(definition).node) == list(definition.node)


@pytest.mark.skipif(not has_bfloat16(), reason="graphs are fused for CPUs with bfloat16")
def test_it_stays_in_float32_when_the_network_is_fused_and_in_16_bits() -> None:
    definition = graph()
    quick = in_16_bits(fused(side_maps_summed(definition)), "bfloat16")
    assert operations(quick)["Cast"] == 0
    np.testing.assert_allclose(run(quick), run(definition), atol=ROUNDING)
