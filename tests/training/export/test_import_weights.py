"""Every tensor of an official checkpoint finds its place."""

import functools

import numpy as np
import pytest

from model.contract import verify
from model.u2net import normalise, u2net
from tests.training.official_tensors import SMALL, network_of, official_tensors
from tests.training.official_u2net import forward
from tests.training.pytorch_files import one_storage_each, write_older
from training.evaluation.predict import load_network
from training.export.artifact import Card, ExportError
from training.export.import_weights import assign_official, import_weights
from training.weights.official import WeightsError


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """`(tensors, artifact, manifest)` of the lite network, served at 64."""
    folder = tmp_path_factory.mktemp("imported")
    tensors = official_tensors("lite")
    checkpoint = write_older(folder / "u2netp.pth", *one_storage_each(tensors))
    return tensors, folder / "artifact", import_weights(checkpoint, folder / "artifact", size=64).manifest


@pytest.mark.slow
def test_an_imported_checkpoint_becomes_an_artifact_of_these_weights(imported):
    tensors, artifact, manifest = imported
    assert verify(artifact) == manifest
    assert (manifest.name, manifest.version, manifest.input_size) == ("u2netp", "1", 64)
    assert (manifest.architecture, manifest.geometry, manifest.sharpness) == ("u2net_lite", "stretch", 1)
    assert "imported from u2netp.pth (SHA-256 " in manifest.data
    assert "statistics" not in manifest.data
    assert "Apache-2.0, see NOTICE" in manifest.licence
    network = u2net("lite")
    assign_official(network, tensors)
    kernel = network.get_layer("stage2.rebnconv3d.conv_s1").get_weights()[0]
    np.testing.assert_array_equal(kernel[1, 2, 3, 4], tensors["stage2.rebnconv3d.conv_s1.weight"][4, 3, 1, 2])


MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # ImageNet's


def official_maps(tensors, image):
    """The official network's logits of a picture uint8 `[N,H,W,3]`, in our layout."""
    normalised = ((image / 255 - MEAN) / DEVIATION).astype(np.float32)
    return [each.transpose(0, 2, 3, 1) for each in forward(tensors, normalised.transpose(0, 3, 1, 2))]


@pytest.mark.slow
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


@pytest.mark.slow
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
        (lambda t: t.update({"side3.bias": np.full(1, np.nan)}), "side3.bias has values that are not finite"),
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


def small_file(folder, name="u2net.pth"):
    return write_older(folder / name, *one_storage_each(official_tensors(*SMALL)))


built_once = functools.cache(u2net)


@pytest.fixture
def exported(monkeypatch):
    """`(serving, card)` of each export that is asked for; none is made, and the network is built once for all."""
    asked = []
    monkeypatch.setattr("training.export.import_weights.u2net", built_once)
    monkeypatch.setattr(
        "training.export.import_weights.export_network", lambda *a, **_: asked.append((a[1], a[3]))
    )
    return asked


def test_a_variant_that_the_file_does_not_hold_is_refused(tmp_path):
    with pytest.raises(
        WeightsError, match=r"u2net.pth: it holds the variant lite .*, not full: leave --variant out"
    ):
        import_weights(small_file(tmp_path), tmp_path / "artifact", variant="full")
    assert not (tmp_path / "artifact").exists()


def test_what_is_given_for_the_manifest_comes_first(tmp_path, exported):
    card = Card(name="people", version="3", data="ours", licence="ours alone")
    import_weights(small_file(tmp_path), tmp_path / "artifact", size=96, variant="lite", card=card)
    ((serving, told),) = exported
    assert told == card
    assert serving.size == 96


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("U2Net (1).pth", "u2net-1"),
        ("..weights..pth", "weights"),
        ("нетто.pth", "u2net"),
        ("u2net_human_seg.pth", "u2net_human_seg"),
    ],
)
def test_a_model_is_named_after_its_file_as_far_as_names_go(tmp_path, exported, file, name):
    import_weights(small_file(tmp_path, file), tmp_path / "artifact")
    ((_, card),) = exported
    assert card.name == name


@pytest.mark.parametrize(
    ("place", "label"),
    [
        ("models/general/1", ("general", "1")),
        ("models/general/12", ("general", "12")),
        ("models/General models/1", ("u2net", "1")),
        ("models/general", ("u2net", "1")),
    ],
)
def test_a_version_in_a_folder_of_models_is_called_so(tmp_path, exported, place, label):
    import_weights(small_file(tmp_path), tmp_path / place)
    ((_, card),) = exported
    assert (card.name, card.version) == label


def test_an_artifact_that_is_there_is_told_before_anything_is_read(tmp_path):
    (tmp_path / "artifact").mkdir()
    with pytest.raises(ExportError, match="artifact exists; choose another place or give --overwrite"):
        import_weights(tmp_path / "none.pth", tmp_path / "artifact")
