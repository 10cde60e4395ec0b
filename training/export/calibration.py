"""What 8 bits need to know of a network, and what they cost it.

In: a network, and photos as it sees them. Out: the largest value of each activation (`model.contract.Activations`),
and how far alphas move when weights and activations have 8 bits.

What the service leaves in float (`model.eight_bits`) is exact here as well.

Ranges are the largest values of all photos: a range that leaves a fifth of it out costs three times as much, one by
the mean over the photos a tenth more (official U²-Net, 320², 24 photos that were not calibrated on).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from model.contract import Activations
from model.eight_bits import bears_8_bits
from model.transforms import to_model_input
from model.u2net import normalise
from training.data.dataset import list_pictures
from training.data.images import read_image
from training.weights.batch_norm import CONVOLUTION_SUFFIX, with_folded_batch_norm

RELU: Final = ".relu_s1"
SUM: Final = ".add"
LEVELS: Final = 255
PERCENTILE: Final = 99.9


@dataclass(frozen=True, slots=True)
class Cost:
    """How far alphas are from the network's own: the mean over all pixels, and what PERCENTILE of them keep to."""

    mean: float
    percentile: float

    @classmethod
    def between(cls, one: NDArray[np.float32], other: NDArray[np.float32]) -> Cost:
        """Of two arrays of alphas of one shape."""
        differences = np.abs(one - other)
        return cls(float(differences.mean()), float(np.percentile(differences, PERCENTILE)))


def largest_activations(network: keras.Model, batches: Sequence[Squares]) -> Activations:
    """What each ReLU and each residual sum of `network` reached on squares uint8 `[N,S,S,3]`."""
    folded = with_folded_batch_norm(network)
    watched = [layer for layer in folded.layers if layer.name.endswith((RELU, SUM))]
    inside = keras.Model(folded.inputs, [layer.output for layer in watched])

    @tf.function(reduce_retracing=True)
    def largest(images: tf.Tensor) -> tf.Tensor:
        return tf.stack([tf.reduce_max(each) for each in inside(normalise(images), training=False)])

    reached = np.max([largest(tf.constant(batch)).numpy() for batch in batches], axis=0)
    # An activation that was 0 everywhere has no range; any will do.
    reached = np.where(reached > 0, reached, 1.0)
    found = {layer.name: float(f"{value:.6g}") for layer, value in zip(watched, reached, strict=True)}

    def ending(end: str) -> dict[str, float]:
        return {name.removesuffix(end): value for name, value in found.items() if name.endswith(end)}

    return Activations(ending(RELU), ending(SUM))


def with_quantised_activations(network: keras.Model, activations: Activations) -> keras.Model:
    """A copy of `network` for inference whose activations are rounded to 256 levels, as 8-bit kernels see them."""
    ranges = {
        **{name + RELU: value for name, value in activations.relu.items()},
        **{name + SUM: value for name, value in activations.sum.items()},
    }
    for name in _seen_in_float(network):
        del ranges[name]

    def rounded(layer: keras.Layer) -> keras.Layer:
        copy = type(layer).from_config(layer.get_config())
        return _Rounded(copy, ranges[layer.name]) if layer.name in ranges else copy

    quantised = keras.models.clone_model(network, clone_function=rounded)
    quantised.set_weights(network.get_weights())
    return quantised


def _seen_in_float(network: keras.Model) -> Iterator[str]:
    """The layers whose activations nothing sees but a convolution that stays in float: in a decoder, what is joined
    with the encoder's map."""
    for layer in network.layers:
        if layer.name.endswith(CONVOLUTION_SUFFIX) and not bears_8_bits(layer.kernel.numpy()):
            source = _maker(layer.input)
            if isinstance(source, layers.Concatenate):
                source = _maker(source.input[0])
                while not source.name.endswith((RELU, SUM)):
                    source = _maker(source.input)
                yield source.name


def _maker(tensor: keras.KerasTensor) -> keras.Layer:
    return tensor._keras_history.operation


def alphas(network: keras.Model, batches: Sequence[Squares], sharpness: float) -> NDArray[np.float32]:
    """float32 `[N,S,S,1]` of all squares uint8 `[n,S,S,3]`."""

    @tf.function(reduce_retracing=True)
    def alpha(images: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(sharpness * network(normalise(images), training=False)[0])

    return np.concatenate([alpha(tf.constant(batch)).numpy() for batch in batches])


class _Rounded(layers.Layer):
    """A layer whose output, 0 or more, is rounded to LEVELS steps up to `largest`."""

    def __init__(self, layer: keras.Layer, largest: float) -> None:
        super().__init__(name=layer.name, dtype=layer.dtype_policy)
        self._layer, self._step = layer, largest / LEVELS

    def call(self, inputs: tf.Tensor | list[tf.Tensor]) -> tf.Tensor:
        steps = tf.round(self._layer(inputs) / self._step)
        return tf.minimum(steps, LEVELS) * self._step


PHOTOS: Final = 32
BATCH: Final = 4
SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})

Squares = NDArray[np.uint8]


class PhotosError(ValueError):
    """The folder holds no photos; the message says what was looked for."""


def photos_in(folder: Path) -> list[Path]:
    """Up to PHOTOS photos of a folder, spread over their sorted names. Raises PhotosError if there is none."""
    if not folder.is_dir():
        raise PhotosError(f"{folder}: no such folder of photos")
    found = list_pictures(folder, tuple(SUFFIXES))
    if not found:
        raise PhotosError(
            f"{folder}: holds no photo ({', '.join(sorted(SUFFIXES))}); give a folder of some dozen"
        )
    places = np.linspace(0, len(found) - 1, min(PHOTOS, len(found))).round().astype(int)
    return [found[place] for place in places]


def squares(photos: Sequence[Path], size: int, geometry: str) -> Iterator[Squares]:
    """Batches of photos as the service shows them to the network. Raises ImageError."""
    for i in range(0, len(photos), BATCH):
        yield np.stack([to_model_input(read_image(path), size, geometry) for path in photos[i : i + BATCH]])
