"""From a photo to what the network sees, and from what it answers to the photo's matte: the recipe that the service
and the evaluation share, so that what is measured is what is served.

    reduction  how much smaller the photo may be for all this
    views      photo -> its squares uint8 `[S,S,3]`: one or two, of a very long photo as many for each of its tiles
    finish     photo and the network's alpha of each view -> Matte, at the photo's own size

Knows nothing of files, of the network or of HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from model.confidence import confidence, has_foreground
from model.quality import Quality
from model.refine import refine
from model.subjects import find_subjects, map_size
from model.tiles import TILES_MAX, joined, tiles
from model.transforms import (
    Alpha,
    Alpha8,
    Box,
    Image,
    content_box,
    stretch,
    to_8_bits,
    to_image_size,
    to_model_input,
)

VIEWS_MAX: Final = 2 * TILES_MAX
REDUCTION: Final = 2
FINE: Final = 3  # pixels of a reduced photo to one of the network's square, at the least


@dataclass(frozen=True, slots=True)
class Matte:
    """Alpha uint8 `[H,W]` of a photo, 255 is 1, the mIoU to expect of it, whether anybody is in the photo, and how
    many subjects (`model.subjects`): people or groups that are apart."""

    alpha: Alpha8
    confidence: float
    foreground: bool
    subjects: int


def reduction(height: int, width: int, size: int, quality: Quality = Quality.STANDARD) -> int:
    """1, or REDUCTION where the edges of a photo of this size are followed at so many times a smaller one, at half of
    the work. On real photos it costs a fifth of what following them gains, on single drawn hairs more than half
    (tests/bench/bench_refine.py), so high quality does without.
    """
    large = min(height, width) >= REDUCTION * FINE * size
    return REDUCTION if large and quality is Quality.STANDARD else 1


def views(
    image: Image,
    size: int,
    geometry: str,
    quality: Quality = Quality.STANDARD,
    *,
    photo_size: tuple[int, int] | None = None,
) -> list[Image]:
    """What the network is to see of `image`: the photo in its square, for high quality also its mirror image; of a
    very long photo the same of each of its tiles (`model.tiles`).

    `photo_size`: as in `finish`.
    """
    seen = []
    for part, part_size in _parts(image, photo_size or image.shape[:2]):
        square = to_model_input(part, size, geometry, part_size)
        seen.append(square)
        if quality is Quality.HIGH:
            seen.append(np.ascontiguousarray(square[:, ::-1]))
    return seen


def finish(
    image: Image,
    seen: Sequence[Image],
    alphas: Sequence[Alpha],
    geometry: str,
    *,
    sharpness: float = 1.0,
    refined: bool = True,
    only_main: bool = False,
    photo_size: tuple[int, int] | None = None,
) -> Matte:
    """The matte of `image` from the network's alpha `[S,S]` of each of its `views`.

    `photo_size`: height and width of the photo, where `image` may be one that is smaller by its `reduction`.
    `geometry` and `sharpness` are the model's own (`model.contract.Manifest`).
    `refined`: follow the photo's own edges (`model.refine`); else the alpha is only brought to the photo's size.
    `only_main`: the alpha, and the confidence, of the main subject alone; everything else in the photo is background.
    """
    height, width = photo_size or image.shape[:2]
    parts = _parts(image, (height, width))
    each = len(alphas) // len(parts)
    found = find_subjects(coarse(alphas, geometry, (height, width), map_size(height, width)))
    share = found.share_of_main() if only_main else None
    at_map = _tiles_at(map_size(height, width), (height, width))
    done = [
        _finish(
            part,
            seen[i * each :][:1],
            alphas[i * each :][:each],
            geometry,
            part_size,
            refined=refined,
            share=None if share is None else share[at_map[i]],
        )
        for i, (part, part_size) in enumerate(parts)
    ]
    alpha = joined([tile.alpha for tile in done], tiles(height, width), height, width)
    foreground = any(has_foreground(tile.seen) for tile in done)
    return Matte(alpha, _confidence(done, sharpness), foreground, found.count if foreground else 0)


def coarse(
    alphas: Sequence[Alpha], geometry: str, photo_size: tuple[int, int], size: tuple[int, int]
) -> Alpha8:
    """A small matte uint8 of `size` (height, width) of a photo of `photo_size`, its edges not refined, from the alpha
    of each of its views."""
    boxes = _tiles_at(size, photo_size)
    each = len(alphas) // len(boxes)
    mattes = [
        to_8_bits(
            to_image_size(
                _mean(alphas[i * each :][:each]),
                rows.stop - rows.start,
                columns.stop - columns.start,
                geometry,
            )
        )
        for i, (rows, columns) in enumerate(boxes)
    ]
    return joined(mattes, boxes, *size)


def _mean(alphas: Sequence[Alpha]) -> Alpha:
    """Of one view's alpha, or of it and its mirror image's."""
    return alphas[0] if len(alphas) == 1 else (alphas[0] + alphas[1][:, ::-1]) * np.float32(0.5)


def _parts(image: Image, photo_size: tuple[int, int]) -> list[tuple[Image, tuple[int, int]]]:
    """The photo's tiles as they lie in `image`, which may be smaller than the photo, and their size in the photo."""
    boxes = zip(_tiles_at(image.shape[:2], photo_size), tiles(*photo_size), strict=True)
    return [
        (image[box], (rows.stop - rows.start, columns.stop - columns.start)) for box, (rows, columns) in boxes
    ]


def _tiles_at(size: tuple[int, int], photo_size: tuple[int, int]) -> list[Box]:
    """The photo's tiles as they lie in a picture of it of another size (height, width)."""
    high, wide = (now / own for now, own in zip(size, photo_size, strict=True))
    return [
        (
            slice(round(rows.start * high), round(rows.stop * high)),
            slice(round(columns.start * wide), round(columns.stop * wide)),
        )
        for rows, columns in tiles(*photo_size)
    ]


@dataclass(frozen=True, slots=True)
class _Tile:
    """A tile's alpha uint8 at its own size. The network's alpha of it, float32: all that was `seen`, and what is
    `kept` of that."""

    alpha: Alpha8
    seen: Alpha
    kept: Alpha


def _finish(
    image: Image,
    seen: Sequence[Image],
    alphas: Sequence[Alpha],
    geometry: str,
    photo_size: tuple[int, int],
    *,
    refined: bool,
    share: Alpha8 | None,
) -> _Tile:
    """`finish` of one tile. `seen` is its square; `share` what each pixel keeps of its alpha, at another size."""
    alpha = _mean(alphas)
    height, width = photo_size
    box = content_box(height, width, alpha.shape[0], geometry)
    content = alpha[box]
    if refined:
        quality = Quality.STANDARD if len(alphas) == 1 else Quality.HIGH
        by = reduction(height, width, alpha.shape[0], quality)
        followed = stretch(image, -(-height // by), -(-width // by))
        full = stretch(refine(followed, seen[0][box], content), height, width)
    else:
        full = to_8_bits(to_image_size(alpha, height, width, geometry))
    if share is None:
        return _Tile(full, content, content)
    # After the refinement, which would take others of the same colours, but without alpha, for a contradiction.
    full = np.asarray(cv2.multiply(full, stretch(share, height, width), scale=1 / 255), np.uint8)
    return _Tile(full, content, content * (stretch(share, *content.shape) * np.float32(1 / 255)))


def _confidence(done: Sequence[_Tile], sharpness: float) -> float:
    """The mean of the tiles'. One that keeps no more than the rim of the main subject tells nothing of its matte."""
    telling = [tile for tile in done if tile.kept is tile.seen or has_foreground(tile.kept)] or done
    return sum(confidence(tile.kept, sharpness) for tile in telling) / len(telling)
