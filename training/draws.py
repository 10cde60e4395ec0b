"""Random numbers of augmentation as a pure function of a key: the same key gives the same draws."""

from __future__ import annotations

import tensorflow as tf


class Draws:
    """Independent stateless draws from one key: each call takes the next stream."""

    def __init__(self, key: tf.Tensor) -> None:
        self._key = key
        self._stream = 0

    def seed(self) -> tf.Tensor:
        self._stream += 1
        return self._key + tf.constant([self._stream * 7919, 0], tf.int64)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> tf.Tensor:
        return tf.random.stateless_uniform([], self.seed(), low, high)

    def chance(self, share: float) -> tf.Tensor:
        return self.uniform() < share
