from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef

from app.network.upsampling import FEW_CHANNELS, FEWEST_CHANNELS, LONG_ROW, resizes_as_products

RNG = np.random.default_rng(0)


def resize(before: tuple[int, int, int], after: tuple[int, int], **options: bool) -> GraphDef:
    with tf.Graph().as_default() as whole:
        x = tf.compat.v1.placeholder(tf.float32, [None, *before], "x")
        tf.compat.v1.image.resize_bilinear(x, after, **({"half_pixel_centers": True} | options), name="y")
    definition: GraphDef = whole.as_graph_def()
    return definition


def run(definition: GraphDef, x: np.ndarray) -> np.ndarray:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(definition, name="")
        return np.asarray(session.run("y:0", {"x:0": x}))


@pytest.mark.parametrize(
    ("before", "after"),
    [((8, 8), (16, 16)), ((8, 4), (16, 12)), ((5, 7), (13, 9)), ((16, 16), (8, 8)), ((1, 3), (4, 3))],
)
def test_the_resize_stays_the_same(before: tuple[int, int], after: tuple[int, int]) -> None:
    x = RNG.random((3, *before, FEWEST_CHANNELS)).astype(np.float32)
    definition = resize((*before, FEWEST_CHANNELS), after)
    rewritten = resizes_as_products(definition)
    assert "ResizeBilinear" not in {node.op for node in rewritten.node}
    # float32 adds in another order
    np.testing.assert_allclose(run(rewritten, x), run(definition, x), atol=1e-6)


@pytest.mark.parametrize("channels", [FEWEST_CHANNELS, FEW_CHANNELS])
@pytest.mark.parametrize("width", [LONG_ROW, LONG_ROW + 1])
@pytest.mark.parametrize("heights", [(4, 8), (5, 7)])
def test_long_row_of_few_channels_is_doubled_by_a_convolution(
    heights: tuple[int, int], width: int, channels: int
) -> None:
    before, after = heights
    x = RNG.random((2, before, width, channels)).astype(np.float32)
    definition = resize((before, width, channels), (after, 2 * width))
    rewritten = resizes_as_products(definition)
    assert [node.op for node in rewritten.node].count("Conv2D") == 1
    np.testing.assert_allclose(run(rewritten, x), run(definition, x), atol=1e-6)


@pytest.mark.parametrize(
    ("row", "channels", "after"),
    [
        (LONG_ROW - 1, FEW_CHANNELS, 2 * (LONG_ROW - 1)),
        (LONG_ROW, FEW_CHANNELS + 1, 2 * LONG_ROW),
        (LONG_ROW, FEW_CHANNELS, 3 * LONG_ROW),
    ],
    ids=["shorter", "more channels", "tripled"],
)
def test_other_rows_are_mixed_by_a_product(row: int, channels: int, after: int) -> None:
    x = RNG.random((2, 2, row, channels)).astype(np.float32)
    definition = resize((2, row, channels), (4, after))
    rewritten = resizes_as_products(definition)
    assert [node.op for node in rewritten.node].count("BatchMatMulV2") == 2
    # TensorFlow counts the places of a row in float32.
    np.testing.assert_allclose(run(rewritten, x), run(definition, x), atol=row * 1e-7)


@pytest.mark.parametrize(
    "definition",
    [
        resize((8, 8, FEWEST_CHANNELS - 1), (16, 16)),
        resize((8, 8, FEWEST_CHANNELS), (16, 16), half_pixel_centers=False),
        resize((8, 8, FEWEST_CHANNELS), (15, 15), half_pixel_centers=False, align_corners=True),
    ],
    ids=["few channels", "corners", "aligned corners"],
)
def test_other_resizes_are_left_alone(definition: GraphDef) -> None:
    assert list(resizes_as_products(definition).node) == list(definition.node)
