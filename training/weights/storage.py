"""Weights as an artifact stores them: kernels in float32, in float16, or in 8 bits with a scale per output channel.

In: a Keras weight. Out: the variables of a SavedModel that hold it, and the weight again. Everything but kernels is a
thousandth of a network and stays in float32: batch norm's variances may leave float16's range.
"""

from __future__ import annotations

from typing import Final, Literal

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.weights.layout import weight_name

Storage = Literal["int8", "float16", "float32"]

SCALE_SUFFIX: Final = "_scale"  # of the name of a variable that holds a kernel's scales
LARGEST: Final = 127  # of int8's magnitudes, the same to both sides of 0
BLOCK_KERNEL: Final = ".conv_s1.kernel"
"""How the names of the kernels end that are stored in 8 bits: those that batch norm follows. The seven that make
logits are a few thousand values, and nothing comes after them that would even out an error."""


class StoredWeight:
    """A weight `[..., C]` in the variables `parts`: its values, and for int8 the scale `[C]` that they are multiplied
    by."""

    def __init__(self, weight: keras.Variable, storage: Storage) -> None:
        name = weight_name(weight)
        self.parts: list[tf.Variable]
        if storage == "int8" and name.endswith(BLOCK_KERNEL):
            values, scale = in_8_bits(np.asarray(weight.value))
            self.parts = [_variable(values, name), _variable(scale, name + SCALE_SUFFIX)]
        else:
            narrow = storage == "float16" and name.endswith("kernel")
            self.parts = [_variable(tf.cast(weight.value, "float16" if narrow else "float32"), name)]

    def restored(self) -> tf.Tensor:
        """float32, the shape of the weight."""
        values = tf.cast(self.parts[0], tf.float32)
        return values * self.parts[1] if len(self.parts) > 1 else values


def in_8_bits(kernel: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Values int8 `[..., C]` and scales float32 `[C]` of a kernel `[..., C]`: the largest of each output channel is
    LARGEST. Scales that leave the largest out and round the rest finer were tried and give the same alphas."""
    largest = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1)))
    scale = np.where(largest > 0, largest / LARGEST, 1).astype(np.float32)
    return np.rint(kernel / scale).astype(np.int8), scale


def restored_by_name(variables: list[tf.Variable]) -> dict[str, tf.Tensor]:
    """The weights, float32, that an artifact's variables hold."""
    stored = {each.name.split(":")[0]: tf.cast(each, tf.float32) for each in variables}
    return {
        name: value * stored[name + SCALE_SUFFIX] if name + SCALE_SUFFIX in stored else value
        for name, value in stored.items()
        if not name.endswith(SCALE_SUFFIX)
    }


def _variable(value: NDArray[np.generic] | tf.Tensor, name: str) -> tf.Variable:
    return tf.Variable(value, name=name, trainable=False)
