"""Ranges are what photos reach, and rounding to them is what 8 bits do."""

import keras
import numpy as np
import pytest

from model.u2net import normalise, u2net
from tests.training import shallow_network
from training.calibration import (
    Cost,
    alphas,
    largest_activations,
    with_quantised_activations,
)

SIZE = 64


@pytest.fixture
def network(monkeypatch):
    shallow_network.use(monkeypatch)
    return u2net("lite")


def squares(count=3):
    return list(np.random.default_rng(2).integers(0, 256, (count, 1, SIZE, SIZE, 3), np.uint8))


def test_ranges_are_the_largest_values_in_the_order_of_computation(network):
    seen = squares()
    found = largest_activations(network, seen)
    assert list(found.sum) == ["stage1", "stage2", "stage1d"]
    assert next(iter(found.relu)) == "stage1.rebnconvin"
    assert list(found.relu)[-1] == "stage1d.rebnconv1d"
    assert len(found.relu) == sum(layer.name.endswith(".relu_s1") for layer in network.layers)
    inside = keras.Model(network.inputs, network.get_layer("stage1.add").output)
    expected = max(float(np.max(inside(normalise(square), training=False))) for square in seen)
    assert found.sum["stage1"] == pytest.approx(expected, rel=1e-4)


def test_rounded_activations_move_alphas_a_little_and_wrong_ranges_a_lot(network):
    seen = squares()
    exact = alphas(network, seen, 1.0)
    found = largest_activations(network, seen)
    cost = Cost.between(alphas(with_quantised_activations(network, found), seen, 1.0), exact)
    assert 0 < cost.mean < 0.01
    assert cost.mean <= cost.percentile
    narrow = type(found)({name: value / 20 for name, value in found.relu.items()}, found.sum)
    wrong = Cost.between(alphas(with_quantised_activations(network, narrow), seen, 1.0), exact)
    assert wrong.mean > 3 * cost.mean
