"""What an export stores, what it measures, and what it refuses."""

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from model.contract import ACTIVATIONS_FILE, SAVED_MODEL_DIR, ContractError, read_activations, verify
from model.u2net import u2net
from tests.training import constant_channel, shallow_network
from training.evaluation.predict import load_cascade
from training.export import artifact as export
from training.export.artifact import Card, ExportError, Packing, Serving, export_network
from training.export.calibration import Cost
from training.weights.artifact_weights import load_artifact_weights

CARD = Card(name="tiny", version="1", data="", licence="")
SERVING = Serving(64)


@pytest.fixture
def network(monkeypatch):
    """Whose batch norm is unlike a new network's, so that it matters whether it is folded."""
    shallow_network.use(monkeypatch)
    keras.utils.set_random_seed(0)
    network, draws = u2net("lite"), np.random.default_rng(3)
    for weight in network.weights:
        if not weight.path.endswith("kernel"):
            low, high = (0.8, 1.25) if "variance" in weight.path or "gamma" in weight.path else (-0.1, 0.1)
            weight.assign(draws.uniform(low, high, weight.shape))
    return network


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    draws = np.random.default_rng(4)
    for i in range(3):
        pixels = cv2.resize(draws.integers(0, 256, (6, 8, 3), np.uint8), (96, 80))
        cv2.imwrite(str(folder / f"{i}.png"), pixels)
    return folder


def size_of(artifact):
    return sum(path.stat().st_size for path in (artifact / SAVED_MODEL_DIR / "variables").iterdir())


@pytest.mark.slow
def test_8_bits_quarter_the_file_say_what_they_cost_and_hold_the_ranges(network, photos, tmp_path):
    whole = export_network(network, SERVING, tmp_path / "whole", CARD, packing=Packing("float32"))
    narrow = export_network(network, SERVING, tmp_path / "narrow", CARD, packing=Packing("int8", photos))
    assert (whole.stored, whole.in_8_bits) == (None, None)
    assert 0 < narrow.stored.mean < narrow.in_8_bits.mean < export.INT8_TOLERANCE
    assert size_of(tmp_path / "narrow") < 0.3 * size_of(tmp_path / "whole")
    assert ACTIVATIONS_FILE in verify(tmp_path / "narrow").files
    assert len(read_activations(tmp_path / "narrow").sum) == 3
    assert read_activations(tmp_path / "whole") is None


@pytest.mark.slow
def test_a_channel_that_is_the_same_everywhere_does_not_spoil_8_bits(network, photos, tmp_path, monkeypatch):
    constant_channel.put_into(network)
    exported = export_network(network, SERVING, tmp_path / "made", CARD, packing=Packing("int8", photos))
    assert exported.stored.mean < exported.in_8_bits.mean < export.INT8_TOLERANCE
    monkeypatch.setattr("model.eight_bits.TOO_LOPSIDED", np.inf)
    monkeypatch.setattr(export, "INT8_TOLERANCE", 1.0)
    spoilt = export_network(network, SERVING, tmp_path / "spoilt", CARD, packing=Packing("int8", photos))
    assert spoilt.in_8_bits.mean > 3 * exported.in_8_bits.mean


@pytest.mark.slow
def test_training_goes_on_from_8_bits_as_they_are_served(network, photos, tmp_path):
    export_network(network, SERVING, tmp_path / "narrow", CARD, packing=Packing("int8", photos))
    again = u2net("lite")
    load_artifact_weights(tmp_path / "narrow", again)
    served = tf.saved_model.load(str(tmp_path / "narrow" / SAVED_MODEL_DIR)).signatures["serving_default"]
    image = np.random.default_rng(5).integers(0, 256, (1, 64, 64, 3), np.uint8)
    expected = served(image=tf.constant(image))["alpha"].numpy()
    np.testing.assert_allclose(export.alphas(again, [image], 1.0), expected, atol=1e-5)
    export_network(again, SERVING, tmp_path / "twice", CARD, packing=Packing("int8", photos))
    twice = u2net("lite")
    load_artifact_weights(tmp_path / "twice", twice)
    for now, then in zip(twice.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(now, then, rtol=1e-5)


@pytest.mark.slow
def test_float_storage_may_be_calibrated_too(network, photos, tmp_path):
    exported = export_network(network, SERVING, tmp_path / "made", CARD, packing=Packing("float16", photos))
    assert exported.in_8_bits is not None
    assert read_activations(tmp_path / "made") is not None


@pytest.mark.slow
def test_float_storage_that_8_bits_would_cost_too_much_is_served_in_float(
    network, photos, tmp_path, monkeypatch
):
    monkeypatch.setattr(export, "INT8_TOLERANCE", 1e-9)
    exported = export_network(network, SERVING, tmp_path / "made", CARD, packing=Packing("float32", photos))
    assert exported.in_8_bits.mean > 1e-9
    assert read_activations(tmp_path / "made") is None
    with pytest.raises(ExportError, match="8 bits move alphas"):
        export_network(network, SERVING, tmp_path / "narrow", CARD, packing=Packing("int8", photos))


def test_8_bits_without_photos_are_refused_before_any_work(network, tmp_path):
    with pytest.raises(ExportError, match="--calibrate DIR"):
        export_network(network, SERVING, tmp_path / "made", CARD, packing=Packing("int8"))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("storage", "cost", "advice"),
    [
        ("int8", Cost(0.005, 0.1), "--storage float16"),
        ("int8", Cost(float("nan"), 0.1), "--storage float16"),
        ("float16", Cost(0.0001, 0.005), "--storage float32"),
    ],
)
def test_what_costs_too_much_is_refused_and_leaves_nothing(
    network, photos, tmp_path, monkeypatch, storage, cost, advice
):
    monkeypatch.setattr(Cost, "between", classmethod(lambda *_: cost))
    with pytest.raises(ExportError, match=advice):
        export_network(network, SERVING, tmp_path / "made", CARD, packing=Packing(storage, photos))
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_single_pixels_of_a_steep_step_do_not_speak_against_16_bits():
    export._check_cost("float16", Cost(0.0001, 0.9 * export.FLOAT16_TOLERANCE))


@pytest.mark.slow
def test_blend_is_the_mean_of_both_and_needs_equal_statistics(network, tmp_path):
    export_network(network, SERVING, tmp_path / "before", CARD, packing=Packing("float32"))
    before = network.get_weights()
    for weight in network.trainable_weights:
        weight.assign_add(np.full(weight.shape, 0.25, np.float32))
    export._blend(network, export.Blend(tmp_path / "before", 0.4))
    for weight, was in zip(network.weights, before, strict=True):
        expected = was if "moving_" in weight.path else was + 0.6 * 0.25
        np.testing.assert_allclose(weight.numpy(), expected, atol=1e-6)
    network.get_layer("stage1.rebnconvin.bn_s1").moving_mean.assign_add(np.ones(64, np.float32))
    with pytest.raises(ExportError, match="other batch norm statistics"):
        export._blend(network, export.Blend(tmp_path / "before", 0.4))


@pytest.mark.slow
def test_cascade_is_written_into_the_manifest_and_must_name_the_served_size(network, tmp_path):
    cascade = {96: 0.0, 64: 0.9}
    made = export_network(
        network, Serving(64, cascade=cascade), tmp_path / "made", CARD, packing=Packing("float32")
    )
    assert made.manifest.cascade == {"64": 0.9, "96": 0.0}
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    assert load_cascade(tmp_path / "made", made.manifest)(noise).shape == (2, 64, 64)
    with pytest.raises(ContractError, match="cascade must name input_size"):
        export_network(
            network, Serving(64, cascade={96: 0.0}), tmp_path / "other", CARD, packing=Packing("float32")
        )
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
