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

from model.eight_bits import bears_8_bits, in_8_bits
from training.weights.layout import weight_name

Storage = Literal["int8", "float16", "float32"]

SCALE_SUFFIX: Final = "_scale"  # of the name of a variable that holds a kernel's scales
BLOCK_KERNEL: Final = ".conv_s1.kernel"
"""How the names of the kernels end that are stored in 8 bits, if they bear it: those that batch norm follows. The
seven that make logits are a few thousand values, and nothing comes after them that would even out an error."""


class StoredWeight:
    """A weight `[..., C]` in the variables `parts`: its values, and for int8 the scale `[C]` that they are multiplied
    by."""

    def __init__(self, weight: keras.Variable, storage: Storage) -> None:
        name = weight_name(weight)
        self.parts: list[tf.Variable]
        value = np.asarray(weight.value)
        if storage == "int8" and name.endswith(BLOCK_KERNEL) and bears_8_bits(value):
            values, scale = in_8_bits(value)
            self.parts = [_variable(values, name), _variable(scale, name + SCALE_SUFFIX)]
        else:
            narrow = storage == "float16" and name.endswith("kernel")
            self.parts = [_variable(tf.cast(value, "float16" if narrow else "float32"), name)]

    def restored(self) -> tf.Tensor:
        """float32, the shape of the weight."""
        values = tf.cast(self.parts[0], tf.float32)
        return values * self.parts[1] if len(self.parts) > 1 else values


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
