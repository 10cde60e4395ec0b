"""One vector is stepped as Keras's AdamW steps many, and float16 survives an overflow."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.training import small_network
from training.config import PhaseConfig, TrainConfig
from training.engine.optimizer import LOSS_SCALE_GROWTH_STEPS, apply_gradient, learning_rate
from training.engine.state import LOSS_SCALE_FIRST, TrainState

CONFIG = TrainConfig(
    phases=(PhaseConfig(32, 20),),
    learning_rate=0.1,
    warmup_steps=2,
    weight_decay=0.05,
    clip_norm=1.5,
    ema_decay=0.7,
)


@pytest.fixture
def state(monkeypatch):
    small_network.use(monkeypatch)
    keras.utils.set_random_seed(1)
    return TrainState(CONFIG)


def gradients(size, count=6):
    """Of norms below and above the clip."""
    draws = np.random.default_rng(3)
    scales = np.linspace(0.01, 1, count)
    return [tf.constant(draws.normal(0, scale, size).astype(np.float32)) for scale in scales]


def test_steps_are_those_of_keras_adamw(state):
    reference = small_network.small_network()
    reference.set_weights(state.network.get_weights())
    adamw = keras.optimizers.AdamW(
        learning_rate=0.1, weight_decay=CONFIG.weight_decay, global_clipnorm=CONFIG.clip_norm
    )
    adamw.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    adamw.build(reference.trainable_variables)
    step = tf.function(lambda gradient: apply_gradient(state, CONFIG, gradient, state.moving.value()))
    for i, gradient in enumerate(gradients(state.layout.size)):
        adamw.learning_rate.assign(learning_rate(CONFIG, tf.constant(i)))
        adamw.apply(state.layout.split(gradient), reference.trainable_variables)
        assert float(step(gradient)) == pytest.approx(float(tf.norm(gradient)), rel=1e-6)
    expected = state.layout.join(reference.trainable_variables)
    assert np.abs(state.weights - state.average).max() > 0.01
    np.testing.assert_allclose(state.weights.numpy(), expected, rtol=2e-5, atol=2e-6)


def test_the_average_follows_with_a_short_memory_at_first(state):
    weights = [state.weights.numpy()]
    moving = tf.fill([state.moving_layout.size], 5.0)
    before = state.moving.numpy()
    for gradient in gradients(state.layout.size, 3):
        apply_gradient(state, CONFIG, gradient, moving)
        weights.append(state.weights.numpy())
    average, moved = weights[0], before
    for t in (1, 2, 3):
        keep = min(0.7, (1 + t) / (10 + t))
        average = average * keep + weights[t] * (1 - keep)
        moved = moved * keep + 5 * (1 - keep)
    np.testing.assert_allclose(state.average.numpy(), average, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(state.moving.numpy(), moving)
    np.testing.assert_allclose(state.moving_average.numpy(), moved, rtol=1e-5)


def test_float16_leaves_out_an_overflow_and_halves_its_scale(monkeypatch):
    small_network.use(monkeypatch)
    config = dataclasses.replace(CONFIG, precision="float16")
    state = TrainState(config)
    step = tf.function(lambda gradient: apply_gradient(state, config, gradient, state.moving.value() + 1))
    before = {name: each.numpy() for name, each in state.vectors.items()}
    assert not np.isfinite(step(tf.fill([state.layout.size], np.inf)))
    for name in (
        "weights",
        "average",
        "first_moment",
        "second_moment",
        "moving",
        "moving_average",
        "updates",
    ):
        np.testing.assert_array_equal(state.vectors[name].numpy(), before[name], err_msg=name)
    assert (state.loss_scale.numpy(), state.step.numpy()) == (LOSS_SCALE_FIRST / 2, 1)
    assert np.isfinite(step(tf.ones([state.layout.size])))
    assert (state.updates.numpy(), state.good_steps.numpy()) == (1, 1)
    assert not np.array_equal(state.weights.numpy(), before["weights"])


def test_float16_doubles_its_scale_after_many_good_steps(monkeypatch):
    small_network.use(monkeypatch)
    config = dataclasses.replace(CONFIG, precision="float16")
    state = TrainState(config)
    state.good_steps.assign(LOSS_SCALE_GROWTH_STEPS - 1)
    apply_gradient(state, config, tf.ones([state.layout.size]), state.moving.value())
    assert (state.loss_scale.numpy(), state.good_steps.numpy()) == (2 * LOSS_SCALE_FIRST, 0)


def test_the_rate_warms_up_then_falls_to_a_hundredth():
    config = TrainConfig(phases=(PhaseConfig(32, 5), PhaseConfig(64, 3)), learning_rate=0.5, warmup_steps=2)
    rates = [float(learning_rate(config, step)) for step in range(9)]
    assert rates[0] == pytest.approx(0.05)
    assert rates[2] == max(rates) == pytest.approx(0.5)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[5] == pytest.approx(0.5 * (0.01 + 0.99 / 2))
    assert rates[8] == pytest.approx(0.005)
