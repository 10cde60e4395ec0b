from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef

from app.network.normalisation import normalisation_by_rows
from app.network.sixteen_bits import in_16_bits

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (2, 6, 5, 3), np.uint8)
MEAN, DEVIATION = np.float32([0.5, 0.4, 0.3]), np.float32([0.2, 0.3, 0.4])
# Values around 1 after three steps instead of two, in float32.
ROUNDING = 1e-6


def graph(
    steps: Callable[[tf.Tensor], tf.Tensor], shape: tuple[int | None, ...] = (None, 6, 5, 3)
) -> GraphDef:
    with tf.Graph().as_default() as whole:
        image = tf.compat.v1.placeholder(tf.uint8, shape, "x")
        tf.identity(steps(tf.cast(image, tf.float32)), name="y")
    definition: GraphDef = whole.as_graph_def()
    return definition


def run(definition: GraphDef, name: str = "y:0") -> np.ndarray:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(definition, name="")
        return np.asarray(session.run(name, {"x:0": IMAGE}))


def operations(definition: GraphDef) -> Counter[str]:
    return Counter(node.op for node in definition.node if node.op not in ("Const", "Identity"))


@pytest.mark.parametrize(
    "steps",
    [
        lambda x: (x / 255.0 - MEAN) / DEVIATION,
        lambda x: (x - 255 * MEAN) * (1 / (255 * DEVIATION)),
        lambda x: x * (1 / 127.5) + -MEAN,
    ],
    ids=["as the export writes it", "in 0..255", "added"],
)
def test_numbers_stay_the_same_in_two_passes(steps: Callable[[tf.Tensor], tf.Tensor]) -> None:
    definition = graph(steps)
    rewritten = normalisation_by_rows(definition)
    assert operations(rewritten) == {"Placeholder": 1, "Cast": 1, "Reshape": 2, "Mul": 1, "AddV2": 1}
    np.testing.assert_allclose(run(rewritten), run(definition), atol=ROUNDING)


def test_steps_behind_a_result_that_others_take_too_are_left_alone() -> None:
    def steps(x: tf.Tensor) -> tf.Tensor:
        half = x / DEVIATION
        return tf.sqrt(half) + (half - MEAN)

    definition = graph(steps)
    rewritten = normalisation_by_rows(definition)
    assert operations(rewritten)["Sub"] == 1
    assert operations(rewritten)["RealDiv"] == 0
    np.testing.assert_allclose(run(rewritten), run(definition), rtol=1e-6)


@pytest.mark.parametrize(
    "definition",
    [
        graph(lambda x: x / 255.0),
        graph(lambda x: x - x),
        graph(lambda x: tf.constant(1.0) - x),
        graph(lambda x: x - MEAN, shape=(None, None, 5, 3)),
        graph(lambda x: x - RNG.random((5, 3)).astype(np.float32)),
        graph(lambda x: tf.sqrt(x) - MEAN),
    ],
    ids=["one number", "itself", "from a number", "open size", "by pixel", "another operation first"],
)
def test_other_beginnings_are_left_alone(definition: GraphDef) -> None:
    assert list(normalisation_by_rows(definition).node) == list(definition.node)


def test_it_stays_in_float32_among_16_bits() -> None:
    definition = graph(lambda x: (x / 255.0 - MEAN) / DEVIATION)
    np.testing.assert_allclose(
        run(in_16_bits(normalisation_by_rows(definition), "bfloat16")), run(definition), atol=ROUNDING
    )
