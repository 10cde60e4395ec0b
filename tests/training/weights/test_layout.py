"""Weights become a vector and come back, each at its own place."""

import numpy as np
import pytest
import tensorflow as tf

from tests.training.small_network import small_network
from training.weights.layout import Layout


@pytest.fixture(scope="module")
def network():
    return small_network()


def values_of(weights):
    draws = np.random.default_rng(0)
    return [tf.constant(draws.normal(size=weight.shape).astype(np.float32)) for weight in weights]


def test_what_is_joined_is_split_again(network):
    layout = Layout(network.trainable_variables)
    values = values_of(network.trainable_variables)
    vector = layout.join(values)
    assert vector.shape == (layout.size,)
    for expected, actual in zip(values, layout.split(vector), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_kernels_come_first(network):
    layout = Layout(network.trainable_variables)
    marked = layout.join(
        [tf.fill(w.shape, float(w.path.endswith("kernel"))) for w in network.trainable_variables]
    )
    assert layout.kernels == 3 * 3 * 3 * 8 + 7 * 8
    np.testing.assert_array_equal(marked, [1.0] * layout.kernels + [0.0] * (layout.size - layout.kernels))


def test_values_are_found_by_name(network):
    layout = Layout(network.trainable_variables)
    found = layout.by_name(layout.join(values_of(network.trainable_variables)))
    assert found["side3.kernel"].shape == (1, 1, 8, 1)
    expected = dict(
        zip(
            (w.path.replace("/", ".") for w in network.trainable_variables),
            values_of(network.trainable_variables),
            strict=True,
        )
    )
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def test_the_digest_tells_layouts_of_equal_size_apart(network):
    weights = network.trainable_variables
    layout, other = Layout(weights), Layout(weights[::-1])
    assert layout.size == other.size
    assert layout.digest() == Layout(weights).digest() != other.digest()


def test_no_weights_are_an_empty_vector():
    layout = Layout([])
    assert layout.join([]).shape == (0,)
    assert layout.split(tf.zeros([0])) == []
