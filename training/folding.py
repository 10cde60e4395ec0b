"""A network whose batch norm is folded into its convolutions, and whose dilated convolutions are such.

In: a network of `model.u2net`. Out: the same function in inference and the same weights by the same names, but a
graph of convolution, bias and ReLU, which TensorFlow fuses into one kernel each. As Keras writes it, batch norm
stays a multiplication and an addition of every feature map, and a dilated convolution moves its pixels to the batch
and back. The export serves such a network; a run that holds batch norm's statistics trains one, since batch norm is
an affine map then, whose gain and shift learn as before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

NORMALISED = ".conv_s1"  # how the name of a convolution ends that a batch norm follows, and that one's
NORM = ".bn_s1"


def with_folded_batch_norm(network: keras.Model) -> keras.Model:
    """A copy of `network`, holding the same weights; batch norm's statistics stay what they are."""

    def fold(layer: keras.Layer) -> keras.Layer:
        if isinstance(layer, keras.layers.Conv2D):
            return FoldedConvolution.from_config(layer.get_config())
        if isinstance(layer, keras.layers.BatchNormalization):
            return FoldedIntoConvolution.from_config(layer.get_config())
        return type(layer).from_config(layer.get_config())

    folded = keras.models.clone_model(network, clone_function=fold)
    layers = {layer.name: layer for layer in folded.layers}
    for name, layer in layers.items():
        if name.endswith(NORMALISED):
            layer.follow(layers[name.removesuffix(NORMALISED) + NORM])
    folded.set_weights(network.get_weights())
    return folded


class FoldedIntoConvolution(keras.layers.BatchNormalization):
    """Holds batch norm's weights, and does nothing: the convolution before it does."""

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        return inputs

    def factor(self) -> tf.Tensor:
        """What the convolution's channels are multiplied by."""
        return self.gamma * tf.math.rsqrt(self.moving_variance + self.epsilon)


class FoldedConvolution(keras.layers.Conv2D):
    """A convolution of stride 1 with the batch norm that it was told to `follow`."""

    # A function, because Keras would take a layer for a part of this one and count its weights twice.
    _norm: Callable[[], FoldedIntoConvolution] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Keras would give 16-bit weights to a mixed policy; folding them needs all bits.
        self.autocast = False

    def follow(self, norm: FoldedIntoConvolution) -> None:
        self._norm = lambda: norm

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        kernel, bias = tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias)
        if self._norm is not None:
            norm = self._norm()
            factor = norm.factor()
            kernel, bias = kernel * factor, (bias - norm.moving_mean) * factor + norm.beta
        x, kernel, bias = (tf.cast(each, self.compute_dtype) for each in (inputs, kernel, bias))
        x = tf.nn.conv2d(x, kernel, 1, self.padding.upper(), dilations=self.dilation_rate)
        return tf.nn.bias_add(x, bias)
