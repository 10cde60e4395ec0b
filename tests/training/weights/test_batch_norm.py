"""Batch norm's statistics come from photos, leave what the network gives as it is, and are asked for where needed."""

import collections
import dataclasses
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

import training
from model.contract import Manifest
from model.u2net import BATCH_NORM_EPSILON, normalise, u2net
from tests.training.official_tensors import telling_tensors
from tests.training.onnx_files import write as write_onnx
from training.config import load_config
from training.engine.run_dir import claim
from training.export.artifact import Packing
from training.export.calibration import photos_in, squares
from training.export.import_weights import assign_official, import_weights
from training.weights.batch_norm import (
    BATCH_NORM_SUFFIX,
    CONVOLUTION_SUFFIX,
    UNMEASURED,
    FusedBatchNormalization,
    StatisticsError,
    check_statistics_measured,
    measure_statistics,
    with_folded_batch_norm,
    with_fused_batch_norm,
)
from training.weights.official import unfold_batch_norm

pytestmark = pytest.mark.slow  # builds whole networks in TensorFlow

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
    tensors = {n: t for n, t in telling_tensors().items() if BATCH_NORM_SUFFIX not in n}
    network = u2net("lite", width=0.25)
    assign_official(network, unfold_batch_norm(tensors, BATCH_NORM_EPSILON))
    return network


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """`(photos uint8 [5,S,S,3], maps before, the network with statistics measured on them)`."""
    network = folded_network()
    folder = write_photos(tmp_path_factory.mktemp("statistics") / "photos", 5)
    batches = list(squares(photos_in(folder), SIZE, "stretch"))
    photos = np.concatenate(batches)
    before = [np.asarray(each) for each in network(normalise(photos), training=False)]
    measure_statistics(network, batches)
    return photos, before, network


def test_inference_is_unchanged(measured):
    photos, before, network = measured
    for now, then in zip(network(normalise(photos), training=False), before, strict=True):
        np.testing.assert_allclose(now, then, atol=1e-4 * np.abs(then).max())


def test_statistics_are_those_of_the_convolutions_on_the_photos(measured):
    photos, _, network = measured
    for name in ("stage1.rebnconvin", "stage3.rebnconv2d", "stage1d.rebnconv1d"):
        given = keras.Model(network.inputs, network.get_layer(name + CONVOLUTION_SUFFIX).output)
        values = np.asarray(given(normalise(photos), training=False), np.float64)
        gamma, _, mean, variance = network.get_layer(name + BATCH_NORM_SUFFIX).get_weights()
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
        check_statistics_measured(MANIFEST, freeze)


def test_a_run_that_holds_batch_norm_or_has_statistics_begins():
    check_statistics_measured(MANIFEST, "statistics")
    check_statistics_measured(
        dataclasses.replace(MANIFEST, data="batch norm statistics measured on 48 photos"), "none"
    )


@pytest.mark.parametrize("photos", [0, 3])
def test_imported_file_says_in_its_manifest_whether_a_run_may_begin_with_it(tmp_path, monkeypatch, photos):
    told = []
    monkeypatch.setattr(
        "training.export.import_weights.export_network", lambda *a, **_: told.append(a[3].data)
    )
    folder = write_photos(tmp_path / "photos", photos) if photos else None
    file = write_onnx(tmp_path / "u2net.onnx", telling_tensors(), size=SIZE)
    import_weights(file, tmp_path / "artifact", packing=Packing("float32", folder))
    manifest = dataclasses.replace(MANIFEST, data=told[0])
    monkeypatch.setattr("training.engine.run_dir.verify", lambda _: manifest)
    run = tmp_path / "run"
    if photos:
        assert told[0].endswith("; batch norm statistics measured on 3 photos")
        claim(run, SMOKE, load_config(SMOKE), tmp_path)
    else:
        with pytest.raises(StatisticsError, match="imported without photos"):
            claim(run, SMOKE, load_config(SMOKE), tmp_path)
        assert not run.exists()


def test_training_output_and_gradients_are_those_of_keras():
    x = tf.constant(np.random.default_rng(0).normal(2, 3, (4, 8, 8, 16)).astype(np.float32))
    plain, fused = (
        kind(epsilon=1e-5, momentum=0.9)
        for kind in (keras.layers.BatchNormalization, FusedBatchNormalization)
    )
    results = []
    for layer in (plain, fused):
        layer.build(x.shape)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            loss = tf.reduce_sum(y**3)
        results.append([y, *tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])])
    for expected, actual in zip(*results, strict=True):
        # float32 sums over 256 values in another order.
        np.testing.assert_allclose(actual, expected, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(fused.moving_mean.numpy(), plain.moving_mean.numpy(), rtol=1e-5)
    # Unbiased against biased: a factor 256 / 255 on the new value's tenth.
    expected = 0.9 + (plain.moving_variance.numpy() - 0.9) * 256 / 255
    np.testing.assert_allclose(fused.moving_variance.numpy(), expected, rtol=1e-4)


def test_a_swapped_network_keeps_names_weights_and_inference():
    network = u2net("lite", width=0.25)
    fused = with_fused_batch_norm(network)
    assert [layer.name for layer in fused.layers] == [layer.name for layer in network.layers]
    assert any(isinstance(layer, FusedBatchNormalization) for layer in fused.layers)
    x = np.random.default_rng(1).normal(size=(1, 32, 32, 3)).astype(np.float32)
    np.testing.assert_array_equal(network(x, training=False)[0], fused(x, training=False)[0])


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
