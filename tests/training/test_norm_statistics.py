"""Batch norm's statistics come from photos, leave what the network gives as it is, and are asked for where needed."""

import dataclasses
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

import training
from model.contract import Manifest
from model.u2net import BATCH_NORM_EPSILON, normalise, u2net
from tests.training.official_tensors import telling_tensors
from tests.training.onnx_files import write as write_onnx
from training.calibration_photos import photos_in, squares
from training.config import load_config
from training.export import Packing
from training.folding import NORM, NORMALISED
from training.import_weights import assign_official, import_weights
from training.norm_statistics import (
    UNMEASURED,
    StatisticsError,
    check_measured,
    measure,
)
from training.official_weights import unfolded
from training.run_dir import claim

SIZE = 64
SMOKE = Path(training.__file__).parent / "configs" / "smoke.toml"


def write_photos(folder, count):
    rng = np.random.default_rng(4)
    folder.mkdir()
    for i in range(count):
        coarse = rng.integers(0, 256, (9, 9, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i:03d}.png"), cv2.resize(coarse, (90, 60 + i)))
    return folder


def folded_network():
    """A network as it comes from a file with folded batch norm: gain 1, mean 0."""
    tensors = {n: t for n, t in telling_tensors().items() if NORM not in n}
    network = u2net("lite", width=0.25)
    assign_official(network, unfolded(tensors, BATCH_NORM_EPSILON))
    return network


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """`(photos uint8 [5,S,S,3], maps before, the network with statistics measured on them)`."""
    network = folded_network()
    folder = write_photos(tmp_path_factory.mktemp("statistics") / "photos", 5)
    batches = list(squares(photos_in(folder), SIZE, "stretch"))
    photos = np.concatenate(batches)
    before = [np.asarray(each) for each in network(normalise(photos), training=False)]
    measure(network, batches)
    return photos, before, network


def test_inference_is_unchanged(measured):
    photos, before, network = measured
    for now, then in zip(network(normalise(photos), training=False), before, strict=True):
        np.testing.assert_allclose(now, then, atol=1e-4 * np.abs(then).max())


def test_statistics_are_those_of_the_convolutions_on_the_photos(measured):
    photos, _, network = measured
    for name in ("stage1.rebnconvin", "stage3.rebnconv2d", "stage1d.rebnconv1d"):
        given = keras.Model(network.inputs, network.get_layer(name + NORMALISED).output)
        values = np.asarray(given(normalise(photos), training=False), np.float64)
        gamma, _, mean, variance = network.get_layer(name + NORM).get_weights()
        np.testing.assert_allclose(mean, values.mean(axis=(0, 1, 2)), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(variance, values.var(axis=(0, 1, 2)), rtol=1e-3)
        np.testing.assert_allclose(gamma, np.sqrt(variance + BATCH_NORM_EPSILON), rtol=1e-5)


def test_training_mode_starts_from_the_same_function(measured):
    photos, before, network = measured
    network = keras.models.clone_model(network)
    network.set_weights(measured[2].get_weights())
    alphas = [
        1 / (1 + np.exp(-np.asarray(maps[0]))) for maps in (before, network(normalise(photos), training=True))
    ]
    assert np.std(alphas[0]) > 0.05
    # The photos are the batch, so that its statistics are the measured ones.
    np.testing.assert_allclose(alphas[1], alphas[0], atol=1e-3)


MANIFEST = Manifest("u2net", "1", 320, "stretch", {}, data=f"imported from u2net.onnx; {UNMEASURED}")


@pytest.mark.parametrize("freeze", ["none", "encoder"])
def test_a_run_that_trains_batch_norm_asks_for_statistics(freeze):
    with pytest.raises(
        StatisticsError, match=r'u2net@1 .*import it again with --photos DIR, or set freeze = "stat'
    ):
        check_measured(MANIFEST, freeze)


def test_a_run_that_holds_batch_norm_or_has_statistics_begins():
    check_measured(MANIFEST, "statistics")
    check_measured(dataclasses.replace(MANIFEST, data="batch norm statistics measured on 48 photos"), "none")


@pytest.mark.parametrize("photos", [0, 3])
def test_imported_file_says_in_its_manifest_whether_a_run_may_begin_with_it(tmp_path, monkeypatch, photos):
    told = []
    monkeypatch.setattr("training.import_weights.export_network", lambda *a, **_: told.append(a[3].data))
    folder = write_photos(tmp_path / "photos", photos) if photos else None
    file = write_onnx(tmp_path / "u2net.onnx", telling_tensors(), size=SIZE)
    import_weights(file, tmp_path / "artifact", packing=Packing("float32", folder))
    manifest = dataclasses.replace(MANIFEST, data=told[0])
    monkeypatch.setattr("training.run_dir.verify", lambda _: manifest)
    run = tmp_path / "run"
    if photos:
        assert told[0].endswith("; batch norm statistics measured on 3 photos")
        claim(run, SMOKE, load_config(SMOKE), tmp_path)
    else:
        with pytest.raises(StatisticsError, match="imported without photos"):
            claim(run, SMOKE, load_config(SMOKE), tmp_path)
        assert not run.exists()
