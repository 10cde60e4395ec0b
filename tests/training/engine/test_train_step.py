"""One step: what it computes is the same in parts, in 16 bits and with a frozen encoder but for what it should be."""

import dataclasses
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.u2net import normalise
from tests.training import small_network
from training.config import PhaseConfig, TrainConfig
from training.engine.state import TrainState
from training.engine.train_step import StepResult, compile_train_step
from training.losses import deep_supervision_loss

CONFIG = TrainConfig(phases=(PhaseConfig(32, 20),), batch_size=4, learning_rate=0.01, warmup_steps=1)
DRAWS = np.random.default_rng(0)
IMAGE = tf.constant(DRAWS.uniform(0, 255, (4, 32, 32, 3)).astype(np.float32))
ALPHA = tf.cast(tf.reduce_mean(IMAGE, 3, keepdims=True) > 128, tf.float32)
GO_ON, STOP = tf.constant(0.0), tf.constant(1.0)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    small_network.use(monkeypatch)


def begin(**changes):
    config = dataclasses.replace(CONFIG, **changes)
    keras.utils.set_random_seed(2)
    state = TrainState(config)
    return state, compile_train_step(tf.distribute.OneDeviceStrategy("/cpu:0"), state, config)


@pytest.fixture(scope="module")
def plain():
    """Eight steps as they are without any options, and a ninth with a request to stop: the loss that is to be before
    the first, the results, and the counts of steps and updates after the eighth. To compile a step takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        small_network.use(patch)
        state, step = begin()
    logits = state.network((IMAGE / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225], training=True)
    expected = float(deep_supervision_loss(ALPHA, logits, CONFIG.loss))
    results = [StepResult.read(step(IMAGE, ALPHA, GO_ON)) for _ in range(8)]
    counts = state.step.numpy(), state.updates.numpy()
    return expected, [*results, StepResult.read(step(IMAGE, ALPHA, STOP))], counts


def losses_of(results):
    return [result.loss for result in results]


def test_the_loss_falls_and_is_that_of_the_network_before_the_step(plain):
    expected, results, counts = plain
    losses = losses_of(results[:8])
    assert losses[0] == pytest.approx(expected, rel=1e-5)
    assert losses == sorted(losses, reverse=True)
    assert counts == (8, 8)


def test_a_request_to_stop_is_told(plain):
    assert [result.stop for result in plain[1]] == [False] * 8 + [True]


@pytest.mark.slow
def test_parts_of_equal_pictures_give_the_gradient_of_the_whole():
    """Batch norm sees each part alone, so that only parts of equal statistics can be compared."""
    image, alpha = tf.repeat(IMAGE[:1], 4, axis=0), tf.repeat(ALPHA[:1], 4, axis=0)
    told, weights = [], []
    for parts in (1, 4):
        state, step = begin(micro_batches=parts)
        told.append(StepResult.read(step(image, alpha, GO_ON)))
        weights.append(state.weights.numpy())
    assert told[1].loss == pytest.approx(told[0].loss, rel=1e-5)
    assert told[1].gradient_norm == pytest.approx(told[0].gradient_norm, rel=1e-4)
    # Adam's first step is the gradient's sign: only values near zero may differ.
    assert np.mean(np.abs(weights[0] - weights[1]) > 1e-4) < 0.01


def test_a_frozen_encoder_stays_as_it_is_and_the_rest_learns():
    state, step = begin(freeze="encoder")
    before = {
        name: np.array(value) for name, value in state.moving_layout.by_name(state.moving.numpy()).items()
    }
    assert set(state.layout.names) == {f"side{i}.{part}" for i in range(7) for part in ("kernel", "bias")}
    first = StepResult.read(step(IMAGE, ALPHA, GO_ON)).loss
    for _ in range(5):
        last = StepResult.read(step(IMAGE, ALPHA, GO_ON)).loss
    assert last < first
    after = state.moving_layout.by_name(state.moving.numpy())
    assert "stage1.rebnconvin.conv_s1.kernel" in after
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value, err_msg=name)
    averaged = {w.path.replace("/", "."): w.numpy() for w in state.averaged_network().weights}
    np.testing.assert_array_equal(
        averaged["stage1.rebnconvin.conv_s1.kernel"], before["stage1.rebnconvin.conv_s1.kernel"]
    )


@pytest.mark.parametrize(("freeze", "encoder_learns"), [("statistics", True), ("encoder+statistics", False)])
def test_held_statistics_stay_as_they_are_and_the_rest_learns(freeze, encoder_learns):
    state, step = begin(freeze=freeze)
    before = state.moving.numpy()
    names = {f"stage1.rebnconvin.{part}" for part in ("conv_s1.kernel", "bn_s1.gamma", "bn_s1.beta")}
    assert names.isdisjoint(state.layout.names) != encoder_learns
    assert "stage1.rebnconvin.bn_s1.moving_variance" in state.moving_layout.names
    first = StepResult.read(step(IMAGE, ALPHA, GO_ON)).loss
    for _ in range(5):
        last = StepResult.read(step(IMAGE, ALPHA, GO_ON)).loss
    assert last < first
    np.testing.assert_array_equal(state.moving.numpy(), before)
    np.testing.assert_array_equal(state.moving_average.numpy(), before)


def test_training_with_held_statistics_begins_with_the_function_that_is_served():
    state, step = begin(freeze="statistics")
    logits = state.averaged_network()(normalise(IMAGE), training=False)
    expected = float(deep_supervision_loss(ALPHA, logits, CONFIG.loss))
    assert StepResult.read(step(IMAGE, ALPHA, GO_ON)).loss == pytest.approx(expected, rel=1e-4)


def test_float16_learns_as_float32_does(plain):
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        _, step = begin(precision="float16")
        losses = losses_of(StepResult.read(step(IMAGE, ALPHA, GO_ON)) for _ in range(4))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    np.testing.assert_allclose(losses, losses_of(plain[1][:4]), rtol=5e-3)


@pytest.mark.slow
def test_xla_computes_the_same(plain):
    _, step = begin(xla=True)
    losses = losses_of(StepResult.read(step(IMAGE, ALPHA, GO_ON)) for _ in range(3))
    np.testing.assert_allclose(losses, losses_of(plain[1][:3]), rtol=1e-4)


@pytest.mark.slow
def test_two_replicas_make_the_step_of_one_that_sees_the_whole():
    """In a process of its own, because TensorFlow makes its devices once."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.two_replicas"],
        capture_output=True,
        timeout=300,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    one, two = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-4)
    np.testing.assert_allclose(two["norms"], one["norms"], rtol=1e-3)
    np.testing.assert_allclose(two["moving"], one["moving"], rtol=1e-4, atol=1e-5)
    assert two["copies_differ_by"] == 0
