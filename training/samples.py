"""Pairs as batches of training samples, by tf.data.

In: files of photos and alphas, and which of a batch's samples this host takes. Out: batches, one per replica, of
image float32 `[b,S,S,3]` in 0..255, alpha float32 `[b,S,S,1]` in 0..1, and index of the pair int64 `[b]`.

Sample k is a pure function of (seed, k): the order within an epoch, the augmentation and the background all come from
stateless draws. So a run resumed at step n sees exactly the samples that an uninterrupted run sees, with no shuffle
buffer to restore, and hosts share a batch without a word to each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import tensorflow as tf

from training.augment import augment
from training.cache import read_cached
from training.config import AugmentConfig
from training.dataset import Sources
from training.images import ImageError
from training.pair_check import why_unreadable

# (image, alpha, index of the pair)
Sample = tuple[tf.Tensor, tf.Tensor, tf.Tensor]
Batch = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


@dataclass(frozen=True, slots=True)
class Share:
    """The replicas `first` ≤ r < `first + count` of `total`, whose samples a host makes."""

    first: int = 0
    count: int = 1
    total: int = 1


ALL = Share()


def training_samples(
    sources: Sources,
    settings: AugmentConfig,
    *,
    size: int,
    batch_size: int,
    seed: int,
    first_step: int,
    last_step: int,
    share: Share = ALL,
) -> tf.data.Dataset:
    """The batches of a host's replicas, in turn, for the steps `first_step` ≤ step < `last_step`.

    `batch_size` is over all replicas, and must be a multiple of their number.
    """
    sample = _sample_of(sources, settings, size, seed)
    per_replica = batch_size // share.total
    per_host = per_replica * share.count

    def own(i: tf.Tensor) -> tf.Tensor:
        """The host's i-th sample as a sample of the run."""
        return i // per_host * batch_size + share.first * per_replica + i % per_host

    indices = tf.data.Dataset.range(first_step * per_host, last_step * per_host)
    samples = indices.map(lambda i: sample(own(i)), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return samples.batch(per_replica, drop_remainder=True).prefetch(2 * share.count)


def named_unreadable(batches: Iterator[Batch], sources: Sources) -> Iterator[Batch]:
    """`batches`; where one cannot be made, ImageError names the files that cannot be decoded."""
    try:
        yield from batches
    except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError, tf.errors.DataLossError) as error:
        files = [*sources.images, *sources.alphas, *sources.backgrounds]
        with ThreadPoolExecutor() as pool:
            reasons = zip(files, pool.map(why_unreadable, files), strict=True)
            bad = [f"{path}: {reason}" for path, reason in reasons if reason]
        if not bad or not sources.alphas:
            raise
        raise ImageError("\n".join(bad)) from error


def _sample_of(sources: Sources, settings: AugmentConfig, size: int, seed: int) -> Callable[..., Sample]:
    """The function from k to a sample."""
    images, alphas, backgrounds = (
        tf.constant([str(path) for path in paths] or [""])
        for paths in (sources.images, sources.alphas, sources.backgrounds)
    )
    count, cached = len(sources.images), not sources.alphas

    def portrait(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if cached:
            pixels = read_cached(images[index], 4)
            return pixels[:, :, :3], pixels[:, :, 3:]
        return _decode(images[index], channels=3), _decode(alphas[index], channels=0)[:, :, :1]

    def background(index: tf.Tensor) -> tf.Tensor:
        return read_cached(backgrounds[index], 3) if cached else _decode(backgrounds[index], channels=3)

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


def _decode(path: tf.Tensor, channels: int) -> tf.Tensor:
    """uint8 `[H,W,C]`; `channels` 0 keeps the file's own count."""
    return tf.io.decode_image(tf.io.read_file(path), channels=channels, expand_animations=False)
