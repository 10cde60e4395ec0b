"""Every tensor of an official checkpoint finds its place."""

import functools

import numpy as np
import pytest

from model.contract import verify
from model.u2net import normalise, u2net
from tests.training.official_u2net import forward
from tests.training.pytorch_files import one_storage_each, write_older
from training.import_weights import WeightsError, assign_official, import_weights
from training.mattes import load_network


@functools.cache
def network_of(variant):
    """For those that leave its weights as they are."""
    return u2net(variant)


def official_tensors(variant):
    """Random tensors under the official names and in PyTorch's layout."""
    rng = np.random.default_rng(2)
    tensors = {}
    for layer in network_of(variant).layers:
        weights = {weight.name: tuple(weight.shape) for weight in layer.weights}
        if "kernel" in weights:
            high, wide, inner, outer = weights["kernel"]
            tensors[f"{layer.name}.weight"] = rng.normal(0, 0.05, (outer, inner, high, wide))
            tensors[f"{layer.name}.bias"] = rng.normal(0, 0.05, outer)
        elif "gamma" in weights:
            count = weights["gamma"][0]
            tensors[f"{layer.name}.weight"] = rng.uniform(0.5, 1.5, count)
            tensors[f"{layer.name}.bias"] = rng.normal(0, 0.1, count)
            tensors[f"{layer.name}.running_mean"] = rng.normal(0, 0.1, count)
            tensors[f"{layer.name}.running_var"] = rng.uniform(0.5, 1.5, count)
    floats = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    return floats | {"stage1.rebnconvin.bn_s1.num_batches_tracked": np.array(7)}


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """`(tensors, artifact, manifest)` of the lite network, served at 64."""
    folder = tmp_path_factory.mktemp("imported")
    tensors = official_tensors("lite")
    checkpoint = write_older(folder / "u2netp.pth", *one_storage_each(tensors))
    return tensors, folder / "artifact", import_weights(checkpoint, folder / "artifact", "lite", size=64)


def test_an_imported_checkpoint_becomes_an_artifact_of_these_weights(imported):
    tensors, artifact, manifest = imported
    assert verify(artifact) == manifest
    assert (manifest.name, manifest.input_size) == ("u2netp", 64)
    network = u2net("lite")
    assign_official(network, tensors)
    kernel = network.get_layer("stage2.rebnconv3d.conv_s1").get_weights()[0]
    np.testing.assert_array_equal(kernel[1, 2, 3, 4], tensors["stage2.rebnconv3d.conv_s1.weight"][4, 3, 1, 2])


MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # ImageNet's


def official_maps(tensors, image):
    """The official network's logits of a picture uint8 `[N,H,W,3]`, in our layout."""
    normalised = ((image / 255 - MEAN) / DEVIATION).astype(np.float32)
    return [each.transpose(0, 2, 3, 1) for each in forward(tensors, normalised.transpose(0, 3, 1, 2))]


@pytest.mark.parametrize("variant", ["full", "lite"])
def test_the_imported_network_computes_what_the_official_one_computes(variant):
    tensors = official_tensors(variant)
    network = u2net(variant)
    assign_official(network, tensors)
    image = np.random.default_rng(5).integers(0, 256, (1, 64, 96, 3), np.uint8)
    expected = official_maps(tensors, image)
    maps = network(normalise(image), training=False)
    assert len(maps) == len(expected) == 7
    for ours, theirs in zip(maps, expected, strict=True):
        # Random weights give logits of any size; float32 sums them in another order.
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


def test_the_imported_artifact_gives_the_official_alpha(imported):
    tensors, artifact, _ = imported
    image = np.random.default_rng(6).integers(0, 256, (2, 64, 64, 3), np.uint8)
    expected = 1 / (1 + np.exp(-official_maps(tensors, image)[0][..., 0].astype(np.float64)))
    np.testing.assert_allclose(load_network(artifact)(image), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("side3.bias"), "lacks side3.bias"),
        (lambda t: t.update(extra=np.zeros(1)), "1 tensors too many: extra"),
        (lambda t: t.update({"outconv.weight": np.zeros((1, 7, 1, 1))}), r"outconv.weight is \(1, 1, 7, 1\)"),
    ],
)
def test_tensors_of_another_network_are_refused_and_nothing_changes(change, message):
    network = network_of("lite")
    before = network.get_weights()
    tensors = official_tensors("lite")
    change(tensors)
    with pytest.raises(WeightsError, match=message):
        assign_official(network, tensors)
    for a, b in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
