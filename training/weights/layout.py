"""Many weights as one vector.

U²-Net has some 800 weights, most of them small. One vector for all of them makes an optimiser step a handful of large
operations instead of thousands of small ones, an all-reduce one message, and a run's state a few arrays that are
saved, restored and sent to other hosts as they are. Knows no optimiser and no network, only shapes and names.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence

import keras
import tensorflow as tf


class Layout:
    """Where each of `weights` lies in a float32 vector `[size]`. Kernels come first: `kernels` is their length, and
    what weight decay reaches."""

    def __init__(self, weights: Sequence[keras.Variable]) -> None:
        self._places = sorted(range(len(weights)), key=lambda i: not weights[i].path.endswith("kernel"))
        ordered = [weights[i] for i in self._places]
        self.names = tuple(weight_name(weight) for weight in ordered)
        self._shapes = [tuple(weight.shape) for weight in ordered]
        self._sizes = [math.prod(shape) for shape in self._shapes]
        self.size = sum(self._sizes)
        self.kernels = sum(
            size for name, size in zip(self.names, self._sizes, strict=True) if name.endswith("kernel")
        )

    def join(self, values: Sequence[tf.Tensor]) -> tf.Tensor:
        """Values in the order of the weights that this was made for, as one vector."""
        ordered = [tf.reshape(tf.cast(values[i], tf.float32), [-1]) for i in self._places]
        return tf.concat(ordered, 0) if ordered else tf.zeros([0])

    def split(self, vector: tf.Tensor) -> list[tf.Tensor]:
        """The values in a vector, in the order of the weights that this was made for."""
        values = list(self.by_name(vector).values())
        return [values[self._places.index(i)] for i in range(len(values))]

    def by_name(self, vector: tf.Tensor) -> dict[str, tf.Tensor]:
        """The values in a vector by `weight_name`."""
        parts = tf.split(vector, self._sizes) if self._sizes else []
        shaped = (tf.reshape(part, shape) for part, shape in zip(parts, self._shapes, strict=True))
        return dict(zip(self.names, shaped, strict=True))

    def digest(self) -> str:
        """SHA-256 over names, shapes and order: vectors of equal length need not be of the same network."""
        described = json.dumps([self.names, self._shapes])
        return hashlib.sha256(described.encode()).hexdigest()


def weight_name(weight: keras.Variable) -> str:
    """A weight's name in an artifact and in a layout: `stage1.rebnconvin.conv_s1.kernel`."""
    return str(weight.path).replace("/", ".")
