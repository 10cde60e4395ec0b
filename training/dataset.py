"""P3M-10k's folders as pairs, and pairs as training samples.

In: a folder laid out as P3M-10k is (Li et al., ACM MM 2021). Out: `list_pairs` gives pairs of paths;
`training_samples` gives batches (image float32 `[B,S,S,3]` in 0..255, alpha float32 `[B,S,S,1]` in 0..1).

Sample k is a pure function of (seed, k): the order within an epoch, the augmentation and the background all
come from stateless draws. So a run resumed at step n sees exactly the samples that an uninterrupted run sees,
with no shuffle buffer to restore.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import tensorflow as tf

from training.augment import augment
from training.config import AugmentConfig

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png")

# Where each split keeps its images: the faces of train and P3M-500-P are blurred, those of P3M-500-NP are not.
IMAGE_FOLDERS: Final = {
    "train": "blurred_image",
    "P3M-500-P": "blurred_image",
    "P3M-500-NP": "original_image",
}


class DatasetError(ValueError):
    """The folder is not laid out as P3M-10k is; the message says what was looked for."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One portrait and its alpha; `trimap` (0/128/255) only where the split has one."""

    stem: str
    image: Path
    alpha: Path
    trimap: Path | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """The pairs of a split, by stem, and the stems that have only one half."""

    name: str
    pairs: tuple[Pair, ...]
    images_without_alpha: tuple[str, ...]
    alphas_without_image: tuple[str, ...]


def list_pairs(root: Path, split: str) -> Split:
    """Pair `split`'s images and mattes by stem.

    Finds the split under `root/split` and `root/validation/split`, also one level deeper in `root/P3M-10k`.
    Raises DatasetError for an unknown split, a missing folder or a split without one whole pair.
    """
    if split not in IMAGE_FOLDERS:
        raise DatasetError(f"unknown split {split!r}: use one of {', '.join(IMAGE_FOLDERS)}")
    folder = _find_split(root, split)
    images = _by_stem(folder / IMAGE_FOLDERS[split])
    alphas = _by_stem(folder / "mask")
    trimaps = _by_stem(folder / "trimap") if (folder / "trimap").is_dir() else {}
    pairs = tuple(
        Pair(stem, images[stem], alphas[stem], trimaps.get(stem))
        for stem in sorted(images.keys() & alphas.keys())
    )
    if not pairs:
        raise DatasetError(f"{folder}: no image has a mask of the same stem")
    return Split(
        split,
        pairs,
        images_without_alpha=tuple(sorted(images.keys() - alphas.keys())),
        alphas_without_image=tuple(sorted(alphas.keys() - images.keys())),
    )


def _find_split(root: Path, split: str) -> Path:
    candidates = [base / level / split for base in (root, root / "P3M-10k") for level in ("", "validation")]
    for folder in candidates:
        if (folder / IMAGE_FOLDERS[split]).is_dir() and (folder / "mask").is_dir():
            return folder
    tried = ", ".join(str(folder) for folder in candidates)
    raise DatasetError(f"no {IMAGE_FOLDERS[split]}/ and mask/ for {split}; looked in {tried}")


def _by_stem(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES}


def list_backgrounds(folder: Path) -> tuple[Path, ...]:
    """Every picture below `folder`, sorted. Raises DatasetError when there is none."""
    found = tuple(sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES))
    if not found:
        raise DatasetError(f"{folder}: no picture found for background replacement")
    return found


def training_samples(
    pairs: Sequence[Pair],
    backgrounds: Sequence[Path],
    settings: AugmentConfig,
    *,
    size: int,
    batch_size: int,
    seed: int,
    first_step: int,
    last_step: int,
) -> tf.data.Dataset:
    """Batches for the steps `first_step` ≤ step < `last_step`, each `(image, alpha, k)`: image float32
    `[B,size,size,3]` in 0..255, alpha float32 `[B,size,size,1]`, and `[B]` int64 indices into `pairs`."""
    image_paths = tf.constant([str(pair.image) for pair in pairs])
    alpha_paths = tf.constant([str(pair.alpha) for pair in pairs])
    background_paths = tf.constant([str(path) for path in backgrounds] or [""])
    count = len(pairs)

    def sample(k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        which = _shuffled(k, count, seed)
        key = tf.stack([tf.constant(seed, tf.int64), k])

        def portrait(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            alpha = _decode(alpha_paths[index], channels=0)[:, :, :1]
            return _decode(image_paths[index], channels=3), alpha

        def drawn(stream: int, among: int) -> tf.Tensor:
            shifted = key + tf.constant([stream, 0], tf.int64)
            return tf.random.stateless_uniform([], shifted, maxval=among, dtype=tf.int32)

        pixels = augment(
            *portrait(which),
            key,
            settings,
            size=size,
            background=(lambda: _decode(background_paths[drawn(101, len(backgrounds))], channels=3))
            if backgrounds
            else None,
            companion=lambda: portrait(drawn(102, count)),
        )
        return (*pixels, which)

    steps = tf.data.Dataset.range(first_step * batch_size, last_step * batch_size)
    samples = steps.map(sample, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return samples.batch(batch_size, drop_remainder=True).prefetch(2)


def _shuffled(k: tf.Tensor, count: int, seed: int) -> tf.Tensor:
    """The pair of sample k: each epoch is a fresh permutation, computed pointwise."""
    epoch, position = k // count, k % count
    key = tf.stack([tf.constant(seed, tf.int64), epoch])
    index = tf.random.experimental.index_shuffle(position, key, count - 1)
    return tf.cast(index, tf.int64)


def _decode(path: tf.Tensor, channels: int) -> tf.Tensor:
    """uint8 `[H,W,C]`; `channels` 0 keeps the file's own count."""
    return tf.io.decode_image(tf.io.read_file(path), channels=channels, expand_animations=False)
