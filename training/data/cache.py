"""Pictures decoded and shrunk once, so that an epoch waits for no JPEG.

In: pairs, backgrounds and the shorter side to shrink to. Out: a folder with one file per picture: height, width and
channels as little-endian int32, then the pixels as uint8, RGB for a background, RGB and alpha for a pair. A file's
name tells of which files, of what size and age, it was made: one that is there is right, and a changed picture is
made anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from training.data.dataset import Pair, Sources
from training.data.images import read_image
from training.data.masks import read_portrait

HEADER: Final = struct.Struct("<3i")
# Of how pictures are read: what was made by another way of reading is made anew.
READER_VERSION: Final = 2
ASPECT_EXPECTED: Final = 1.4  # of a portrait, for the estimate of the space that is needed


class CacheError(RuntimeError):
    """The cache cannot be made; the message says why."""


def build_cache(
    pairs: Sequence[Pair], backgrounds: Sequence[Path], folder: Path, shorter_side: int, console: Console
) -> Sources:
    """Make what is missing, with a bar, and return the files. Raises CacheError, or ImageError naming a file."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        source: folder / _name(source, shorter_side)
        for source in (*((pair.image, pair.alpha) for pair in pairs), *((path,) for path in backgrounds))
    }
    missing = [source for source, path in files.items() if not path.exists()]
    _check_space(folder, len(missing), shorter_side)

    def store(source: tuple[Path, ...]) -> None:
        _store(files[source], _shrunk(_pixels(source), shorter_side))

    with ThreadPoolExecutor() as pool:
        stored = pool.map(store, missing)
        for _ in track(stored, "decode and shrink", len(missing), console=console, disable=not missing):
            pass
    made = tuple(files.values())
    return Sources(made[: len(pairs)], (), made[len(pairs) :])


def read_cached(path: tf.Tensor, channels: int) -> tf.Tensor:
    """uint8 `[H,W,channels]` of a file of the cache, in a graph."""
    content = tf.io.read_file(path)
    shape = tf.io.decode_raw(tf.strings.substr(content, 0, HEADER.size), tf.int32)
    pixels = tf.reshape(tf.io.decode_raw(tf.strings.substr(content, HEADER.size, -1), tf.uint8), shape)
    return tf.ensure_shape(pixels, [None, None, channels])


def _name(source: tuple[Path, ...], shorter_side: int) -> str:
    facts = [(str(path.resolve()), (stat := path.stat()).st_size, stat.st_mtime_ns) for path in source]
    return hashlib.sha256(repr((READER_VERSION, facts, shorter_side)).encode()).hexdigest()[:32]


def _pixels(source: tuple[Path, ...]) -> NDArray[np.uint8]:
    """A background's RGB, or a pair's RGB and alpha."""
    if len(source) == 1:
        return read_image(source[0])
    image, alpha = read_portrait(*source)
    return np.dstack([image, alpha])


def _shrunk(pixels: NDArray[np.uint8], shorter_side: int) -> NDArray[np.uint8]:
    """By the mean over each new pixel's area; small pictures stay as they are."""
    height, width = pixels.shape[:2]
    scale = shorter_side / min(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _store(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Whole or not at all: another host may be making the same file."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        file.write(HEADER.pack(*pixels.shape))
        file.write(pixels.tobytes())
    partial.replace(path)


def _check_space(folder: Path, files: int, shorter_side: int) -> None:
    needed = int(files * shorter_side**2 * ASPECT_EXPECTED * 4)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CacheError(
            f"{folder} needs about {needed / 1e9:.0f} GB for {files} pictures and has {free / 1e9:.0f}; "
            "give another --cache DIR, or a smaller shorter_side in the document"
        )
