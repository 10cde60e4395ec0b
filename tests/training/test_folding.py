"""The served graph computes what the network computes, in fewer operations."""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.u2net import u2net
from training.folding import with_folded_batch_norm


@pytest.fixture(scope="module")
def network():
    """Every stage of the full table, with statistics unlike a new network's."""
    network = u2net("full", width=0.25)
    draws = np.random.default_rng(0)
    for weight in network.weights:
        if not weight.path.endswith("kernel"):
            weight.assign(weight + draws.uniform(0, 0.3, weight.shape))
    return network


def operations(model):
    function = tf.function(lambda x: model(x, training=False)[0])
    graph = function.get_concrete_function(tf.TensorSpec([1, 64, 64, 3])).graph
    return collections.Counter(operation.type for operation in graph.get_operations())


def test_all_seven_maps_are_the_networks(network):
    image = np.random.default_rng(1).normal(size=(2, 64, 96, 3)).astype(np.float32)
    expected, actual = network(image, training=False), with_folded_batch_norm(network)(image, training=False)
    assert len(actual) == 7
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(b).max())


def test_weights_keep_their_names_and_values(network):
    folded = with_folded_batch_norm(network)
    assert [w.path for w in folded.weights] == [w.path for w in network.weights]
    for a, b in zip(folded.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_that_come_later_are_folded_too(network):
    """The export calls the network with the weights that it stores."""
    folded = with_folded_batch_norm(network)
    image = np.random.default_rng(1).normal(size=(1, 32, 32, 3)).astype(np.float32)
    other = keras.models.clone_model(network)
    moved = [value + 0.1 for value in other.get_weights()]
    other.set_weights(moved)
    trainable = [tf.constant(w.numpy()) for w in other.trainable_variables]
    moving = [tf.constant(w.numpy()) for w in other.non_trainable_variables]
    logits, _ = folded.stateless_call(trainable, moving, image, training=False)
    expected = other(image, training=False)[0]
    np.testing.assert_allclose(logits[0], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_each_convolution_is_one_operation_with_its_bias(network):
    before, after = operations(network), operations(with_folded_batch_norm(network))
    assert before["SpaceToBatchND"] == 23
    assert after["SpaceToBatchND"] == 0
    assert after["Conv2D"] == after["BiasAdd"] == before["Conv2D"]
    # What is left of Mul and AddV2 is on weights, and the stages' sums.
    assert after["AddV2"] - 2 * before["Rsqrt"] <= 11 + before["Rsqrt"]
