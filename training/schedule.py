"""The learning rate over a run."""

from __future__ import annotations

import math

import tensorflow as tf

from training.config import TrainConfig


def learning_rate(config: TrainConfig, step: tf.Tensor) -> tf.Tensor:
    """The rate of step 0, 1, …: a linear warm-up from a tenth, then a cosine down to a hundredth at the last step."""
    t = tf.cast(step, tf.float32)
    warmup = max(1, min(config.warmup_steps, config.total_steps // 2))
    rising = 0.1 + 0.9 * t / warmup
    done = (t - warmup) / max(1, config.total_steps - warmup)
    falling = 0.01 + 0.99 * 0.5 * (1 + tf.cos(math.pi * tf.clip_by_value(done, 0.0, 1.0)))
    return config.learning_rate * tf.where(t < warmup, rising, falling)
