"""Batch norm's statistics, for a network whose batch norm was folded into its convolutions.

In: the network, with a convolution without bias, gain 1 and the folded bias as shift, and photos. Out: the same
function with the mean m and the variance v of what each convolution gives on the photos, the gain √(v + ε) and the
shift m + bias. So inference gives what it gave, and training, which normalises by each batch's own mean and variance,
starts close to that. Without them the network can be served, but not trained with batch norm in training mode.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from model.contract import Manifest
from model.u2net import normalise
from training.calibration_photos import Squares
from training.folding import NORM, NORMALISED

# What the manifest's `data` says, and what is no longer true of it when batch norm was folded once more.
UNMEASURED: Final = "batch norm statistics not measured"
MEASURED: Final = "batch norm statistics measured on {} photos"
STATISTICS: Final = re.compile(r"(; )?batch norm statistics [^;]*")
HELD: Final = "statistics"  # how a document's `freeze` ends that keeps batch norm as in inference


class StatisticsError(ValueError):
    """The statistics are needed and missing; the message says what to do."""


def check_measured(manifest: Manifest, freeze: str) -> None:
    """Raises StatisticsError where a run that is to `freeze` that part would train batch norm without statistics."""
    if UNMEASURED in manifest.data and not freeze.endswith(HELD):
        raise StatisticsError(
            f"{manifest.label} was imported without photos, so its batch norm statistics are not known and training "
            f'would start from another function: import it again with --photos DIR, or set freeze = "{HELD}"'
        )


def measure(network: keras.Model, batches: Iterable[Squares]) -> None:
    """Set batch norm's mean and variance from photos, and its gain and shift so that inference stays as it is."""
    convolutions = [layer for layer in network.layers if layer.name.endswith(NORMALISED)]
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
        norm = network.get_layer(layer.name.removesuffix(NORMALISED) + NORM)
        _set_statistics(norm, means.mean(axis=0), variances.mean(axis=0) + means.var(axis=0))


def _set_statistics(
    norm: keras.layers.BatchNormalization, mean: NDArray[np.float64], variance: NDArray[np.float64]
) -> None:
    gamma, beta, old_mean, old_variance = (np.asarray(weight, np.float64) for weight in norm.get_weights())
    factor = gamma / np.sqrt(old_variance + norm.epsilon)
    shift = beta - old_mean * factor
    values = (factor * np.sqrt(variance + norm.epsilon), shift + mean * factor, mean, variance)
    norm.set_weights([value.astype(np.float32) for value in values])
