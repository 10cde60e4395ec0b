"""Batch norm in three forms: fused for training, folded for inference, and measured again from photos.

`with_fused_batch_norm`: Keras 3 composes batch norm of single operations; on a CPU these took a third of U²-Net's
training step. The fused kernel (oneDNN on a CPU, cuDNN on a GPU) does the same.

`with_folded_batch_norm`: as Keras writes it, batch norm stays a multiplication and an addition of every feature map
in inference, and a dilated convolution moves its pixels to the batch and back. Folded, the graph is convolution,
bias and ReLU, which TensorFlow fuses into one kernel each. The export serves such a network; a run that holds batch
norm's statistics trains one, since batch norm is an affine map then, whose gain and shift learn as before.

`measure_statistics`: a file from elsewhere may have batch norm folded into its convolutions. Such a network, with
gain 1 and the folded bias as shift, gets the mean m and the variance v of what each convolution gives on photos, the
gain √(v + ε) and the shift m + bias. Inference then gives what it gave, and training, which normalises by each
batch's own mean and variance, starts close to that.

In all three, names and weights stay as they are, so that checkpoints and artifacts fit every form.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from model.contract import Manifest
from model.u2net import normalise

# How the names of a convolution with batch norm, and of its batch norm, end.
CONVOLUTION_SUFFIX: Final = ".conv_s1"
BATCH_NORM_SUFFIX: Final = ".bn_s1"

# What the manifest's `data` says, and what is no longer true of it when batch norm was folded once more.
UNMEASURED: Final = "batch norm statistics not measured"
MEASURED: Final = "batch norm statistics measured on {} photos"
STATISTICS: Final = re.compile(r"(; )?batch norm statistics [^;]*")
HELD_SUFFIX: Final = "statistics"  # how a document's `freeze` ends that keeps batch norm as in inference


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
        if name.endswith(CONVOLUTION_SUFFIX):
            layer.fold(layers[name.removesuffix(CONVOLUTION_SUFFIX) + BATCH_NORM_SUFFIX])
    folded.set_weights(network.get_weights())
    return folded


class FoldedIntoConvolution(keras.layers.BatchNormalization):
    """Hold batch norm's weights and do nothing: the convolution before it applies them."""

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        return inputs

    def factor(self) -> tf.Tensor:
        """What the convolution's channels are multiplied by."""
        return self.gamma * tf.math.rsqrt(self.moving_variance + self.epsilon)


class FoldedConvolution(keras.layers.Conv2D):
    """A convolution of stride 1 that applies the batch norm given to `fold`."""

    # A function, because Keras would take a layer for a part of this one and count its weights twice.
    _norm: Callable[[], FoldedIntoConvolution] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Keras would give 16-bit weights to a mixed policy; folding them needs all bits.
        self.autocast = False

    def fold(self, norm: FoldedIntoConvolution) -> None:
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


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` over the last axis of `[N,H,W,C]`, through FusedBatchNormV3.

    The moving variance takes the batch's unbiased variance (N·H·W - 1), as PyTorch's does and Keras's does not.
    """

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        if not (training and self.trainable):  # frozen layers keep their statistics
            return super().call(inputs, training=False, mask=mask)
        normalised, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.cast(self.gamma, tf.float32),
            offset=tf.cast(self.beta, tf.float32),
            mean=tf.zeros([0]),
            variance=tf.zeros([0]),
            epsilon=self.epsilon,
            is_training=True,
        )
        self.moving_mean.assign(self.moving_mean * self.momentum + mean * (1 - self.momentum))
        self.moving_variance.assign(self.moving_variance * self.momentum + variance * (1 - self.momentum))
        return normalised


def with_fused_batch_norm(network: keras.Model) -> keras.Model:
    """A copy of `network` with every batch normalisation fused, holding the same weights."""

    def fuse(layer: keras.Layer) -> keras.Layer:
        if isinstance(layer, keras.layers.BatchNormalization):
            return FusedBatchNormalization.from_config(layer.get_config())
        return type(layer).from_config(layer.get_config())

    fused = keras.models.clone_model(network, clone_function=fuse)
    fused.set_weights(network.get_weights())
    return fused


class StatisticsError(ValueError):
    """The statistics are needed and missing; the message says what to do."""


def check_statistics_measured(manifest: Manifest, freeze: str) -> None:
    """Raise StatisticsError where a run with this `freeze` would train batch norm without statistics."""
    if UNMEASURED in manifest.data and not freeze.endswith(HELD_SUFFIX):
        raise StatisticsError(
            f"{manifest.label} was imported without photos, so its batch norm statistics are not known and training "
            f'would start from another function: import it again with --photos DIR, or set freeze = "{HELD_SUFFIX}"'
        )


def measure_statistics(network: keras.Model, batches: Iterable[NDArray[np.uint8]]) -> None:
    """Set batch norm's mean and variance from photos, and its gain and shift so that inference stays as it is."""
    convolutions = [layer for layer in network.layers if layer.name.endswith(CONVOLUTION_SUFFIX)]
    probe = keras.Model(network.inputs, [layer.output for layer in convolutions])

    @tf.function
    def moments(images: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Of each convolution and photo, so that no feature map outlives its convolution."""
        return [tf.nn.moments(x, [1, 2]) for x in probe(normalise(images), training=False)]

    found: list[list[tuple[NDArray[Any], NDArray[Any]]]] = [[] for _ in convolutions]
    for images in batches:
        for each, (mean, variance) in zip(found, moments(tf.constant(images)), strict=True):
            each.append((np.asarray(mean, np.float64), np.asarray(variance, np.float64)))
    for layer, parts in zip(convolutions, found, strict=True):
        means, variances = (np.concatenate(part) for part in zip(*parts, strict=True))
        norm = network.get_layer(layer.name.removesuffix(CONVOLUTION_SUFFIX) + BATCH_NORM_SUFFIX)
        _set_statistics(norm, means.mean(axis=0), variances.mean(axis=0) + means.var(axis=0))


def _set_statistics(
    norm: keras.layers.BatchNormalization, mean: NDArray[np.float64], variance: NDArray[np.float64]
) -> None:
    gamma, beta, old_mean, old_variance = (np.asarray(weight, np.float64) for weight in norm.get_weights())
    factor = gamma / np.sqrt(old_variance + norm.epsilon)
    shift = beta - old_mean * factor
    values = (factor * np.sqrt(variance + norm.epsilon), shift + mean * factor, mean, variance)
    norm.set_weights([value.astype(np.float32) for value in values])
