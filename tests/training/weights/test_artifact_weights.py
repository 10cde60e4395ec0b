"""A run goes on from an artifact's weights, exactly as they were stored, or says why it cannot."""

import numpy as np
import pytest

from model.contract import ContractError
from model.u2net import u2net
from training.export.artifact import Card, Serving, export_network
from training.weights.artifact_weights import ArtifactWeightsError, load_artifact_weights

pytestmark = pytest.mark.slow  # builds whole networks in TensorFlow

CARD = Card(name="tiny", version="1", data="", licence="")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """A quarter-width lite network with batch-norm statistics unlike a new network's."""
    network = u2net("lite", width=0.25)
    draws = np.random.default_rng(3)
    for weight in network.weights:
        if not weight.path.endswith("kernel"):
            weight.assign(weight + draws.uniform(0, 0.01, weight.shape))
    place = tmp_path_factory.mktemp("artifacts") / "tiny"
    export_network(network, Serving(64), place, CARD)
    return network, place


def test_every_weight_comes_back_as_stored(artifact):
    source, place = artifact
    network = u2net("lite", width=0.25)
    assert load_artifact_weights(place, network).label == "tiny@1"
    for weight, expected in zip(network.weights, source.get_weights(), strict=True):
        if weight.path.endswith("kernel"):
            expected = expected.astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(weight.numpy(), expected)


@pytest.mark.parametrize("other", [("lite", 0.5), ("full", 0.25)])
def test_a_network_of_another_shape_is_refused_and_left_as_it_was(artifact, other):
    variant, width = other
    network = u2net(variant, width=width)
    before = network.get_weights()
    with pytest.raises(ArtifactWeightsError, match=r"u2net_lite_x0\.25, not u2net_"):
        load_artifact_weights(artifact[1], network)
    for now, then in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ContractError, match="missing"):
        load_artifact_weights(tmp_path, u2net("lite", width=0.25))
