"""What a training run sets for its whole process does not outlive a test."""

import random

import keras
import numpy as np
import tensorflow as tf

from tests.support.global_state import ONEDNN_BFLOAT16, forget_seeds_and_precision
from training.config import PhaseConfig, TrainConfig
from training.engine.trainer import set_precision


def draws():
    """One draw of each that a seed makes the same."""

    @tf.function
    def drawn():
        return tf.random.uniform([])

    layer = keras.layers.Dense(1)
    layer.build((None, 1))
    kernel = float(layer.kernel.numpy()[0, 0])
    return float(drawn()), float(tf.random.uniform([])), random.random(), float(np.random.random()), kernel


def test_seeds_are_forgotten():
    seen = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        seen.append(draws())
    assert seen[0] == seen[1]
    for _ in range(2):
        keras.utils.set_random_seed(5)
        forget_seeds_and_precision()
        seen.append(draws())
    assert all(len(set(values)) == 3 for values in zip(*seen, strict=True))


def test_a_runs_precision_is_forgotten():
    set_precision(TrainConfig(phases=(PhaseConfig(32, 1),), precision="bfloat16"))
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    forget_seeds_and_precision()
    assert keras.mixed_precision.global_policy().name == "float32"
    assert not tf.config.optimizer.get_experimental_options().get(ONEDNN_BFLOAT16)
    assert tf.compat.v1.random.get_seed(None) == (None, None)
