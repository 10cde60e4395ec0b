"""Pairs as batches of training samples, by tf.data.

In: files of photos and alphas, and which of a batch's samples this host takes. Out: batches, one per replica, of
image float32 `[b,S,S,3]` in 0..255, alpha float32 `[b,S,S,1]` in 0..1, and index of the pair int64 `[b]`.

Sample k is a pure function of (seed, k): the order within an epoch, the augmentation and the background all come from
stateless random numbers. So a run resumed at step n sees exactly the samples that an uninterrupted run sees, with no
shuffle buffer to restore, and hosts share a batch without any communication.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.config import AugmentConfig
from training.data.augmentation import augment
from training.data.cache import read_cached
from training.data.dataset import Sources
from training.data.images import DataError, ImageError, read_image
from training.data.masks import read_portrait

# (image, alpha, index of the pair)
Sample = tuple[tf.Tensor, tf.Tensor, tf.Tensor]
Batch = tuple[tf.Tensor, tf.Tensor, tf.Tensor]
# uint8 [H,W,3] and [H,W,1]
Portrait = tuple[tf.Tensor, tf.Tensor]


@dataclass(frozen=True, slots=True)
class ReplicaRange:
    """The replicas that a host makes samples for: `first` ≤ r < `first + count` of `total`."""

    first: int = 0
    count: int = 1
    total: int = 1


ALL_REPLICAS = ReplicaRange()


def training_batches(
    sources: Sources,
    settings: AugmentConfig,
    *,
    size: int,
    batch_size: int,
    seed: int,
    first_step: int,
    last_step: int,
    replicas: ReplicaRange = ALL_REPLICAS,
) -> tf.data.Dataset:
    """The batches of a host's replicas, in turn, for the steps `first_step` ≤ step < `last_step`.

    `batch_size` is over all replicas, and must be a multiple of their number.
    """
    sample = _sample_function(sources, settings, size, seed)
    per_replica = batch_size // replicas.total
    per_host = per_replica * replicas.count

    def own(i: tf.Tensor) -> tf.Tensor:
        """The host's i-th sample as a sample of the run."""
        return i // per_host * batch_size + replicas.first * per_replica + i % per_host

    indices = tf.data.Dataset.range(first_step * per_host, last_step * per_host)
    samples = indices.map(lambda i: sample(own(i)), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return samples.batch(per_replica, drop_remainder=True).prefetch(2 * replicas.count)


def name_unreadable_files(batches: Iterator[Batch], sources: Sources) -> Iterator[Batch]:
    """Yield `batches`. Where one cannot be made, raise a DataError that names every unreadable file, and why."""
    try:
        yield from batches
    except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError, tf.errors.DataLossError) as error:
        with ThreadPoolExecutor() as pool:
            reasons = [
                *pool.map(_unreadable_reason, zip(sources.images, sources.alphas, strict=False)),
                *(pool.map(_unreadable_reason, zip(sources.backgrounds)) if sources.alphas else ()),
            ]
        if not any(reasons):
            raise
        raise DataError("\n".join(reason for reason in reasons if reason)) from error


def _unreadable_reason(files: tuple[Path, ...]) -> str:
    """Of a photo with its mask, or of a background; "" when it can be read."""
    try:
        read_image(*files) if len(files) == 1 else read_portrait(*files)
    except ImageError as error:
        return str(error)
    return ""


def _sample_function(
    sources: Sources, settings: AugmentConfig, size: int, seed: int
) -> Callable[..., Sample]:
    """The function from k to a sample."""
    count = len(sources.images)
    portrait, background = _cached(sources) if not sources.alphas else _from_files(sources)

    def sample(k: tf.Tensor) -> Sample:
        which = _shuffled(k, count, seed)
        key = tf.stack([tf.constant(seed, tf.int64), k])

        def drawn(stream: int, among: int) -> tf.Tensor:
            shifted = key + tf.constant([stream, 0], tf.int64)
            return tf.random.stateless_uniform([], shifted, maxval=among, dtype=tf.int32)

        behind = (lambda: background(drawn(101, len(sources.backgrounds)))) if sources.backgrounds else None
        pixels = augment(
            *portrait(which),
            key,
            settings,
            size=size,
            background=behind,
            companion=lambda: portrait(drawn(102, count)),
        )
        return (*pixels, which)

    return sample


def _shuffled(k: tf.Tensor, count: int, seed: int) -> tf.Tensor:
    """The pair of sample k: each epoch is a fresh permutation, computed pointwise."""
    epoch, position = k // count, k % count
    key = tf.stack([tf.constant(seed, tf.int64), epoch])
    index = tf.random.experimental.index_shuffle(position, key, count - 1)
    return tf.cast(index, tf.int64)


def _cached(sources: Sources) -> tuple[Callable[..., Portrait], Callable[..., tf.Tensor]]:
    """The functions from an index to a portrait and to a background, of files of the cache."""
    images, backgrounds = (
        tf.constant([os.fsencode(path) for path in paths] or [b""])
        for paths in (sources.images, sources.backgrounds)
    )

    def portrait(index: tf.Tensor) -> Portrait:
        pixels = read_cached(images[index], 4)
        return pixels[:, :, :3], pixels[:, :, 3:]

    return portrait, lambda index: read_cached(backgrounds[index], 3)


def _from_files(sources: Sources) -> tuple[Callable[..., Portrait], Callable[..., tf.Tensor]]:
    """The same of the pictures themselves, by the reader that validation and evaluation have too. Its decoders let go
    of Python's lock, so that files are decoded side by side."""

    def read_pair(index: np.int64) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        image, alpha = read_portrait(sources.images[index], sources.alphas[index])
        return image, alpha[:, :, None]

    def portrait(index: tf.Tensor) -> Portrait:
        image, alpha = tf.numpy_function(read_pair, [index], [tf.uint8, tf.uint8], stateful=False)
        return tf.ensure_shape(image, [None, None, 3]), tf.ensure_shape(alpha, [None, None, 1])

    def background(index: tf.Tensor) -> tf.Tensor:
        pixels = tf.numpy_function(
            lambda i: read_image(sources.backgrounds[i]), [index], tf.uint8, stateful=False
        )
        return tf.ensure_shape(pixels, [None, None, 3])

    return portrait, background
