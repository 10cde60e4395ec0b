from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from app.imaging import png_writer
from app.imaging.tiles import Strips, tiles_of
from tests.support.images import Image, pixels, portrait

SIZES = [(1, 1), (8, 8), (9, 30), (50, 7), (64, 100)]


def patchy(height: int, width: int):
    """A matte with whole areas of 0, of 255, and of what is between."""
    draws = np.random.default_rng(height * width)
    coarse = draws.choice(np.array([0, 255, 255, 90], np.uint8), (height // 9 + 1, width // 9 + 1))
    return np.repeat(np.repeat(coarse, 9, axis=0), 9, axis=1)[:height, :width].copy()


@pytest.mark.parametrize(("high", "wide"), [(8, 8), (24, 8), (5, 16)])
@pytest.mark.parametrize("size", SIZES)
def test_each_pixel_lies_in_one_run_of_its_kind(size, high: int, wide: int) -> None:
    alpha = patchy(*size)
    tiles = tiles_of(alpha, high, wide)
    kinds = [np.zeros(size, int) for _ in range(3)]
    for kind, chosen in zip(kinds, (tiles.empty, tiles.solid, tiles.band), strict=True):
        for part in tiles.runs(chosen):
            kind[part] += 1
    assert np.array_equal(sum(kinds), np.ones(size, int))
    assert not alpha[kinds[0] == 1].any()
    assert (alpha[kinds[1] == 1] == 255).all()


def test_tile_with_a_single_other_pixel_is_not_empty() -> None:
    alpha = np.zeros((40, 40), np.uint8)
    alpha[39, 8] = 1
    tiles = tiles_of(alpha, 16, 16)
    assert tiles.band.tolist() == [[False] * 3, [False] * 3, [True, False, False]]


def test_neighbouring_tiles_come_as_one_run() -> None:
    alpha = np.zeros((16, 64), np.uint8)
    alpha[3, [10, 20, 60]] = 128
    tiles = tiles_of(alpha, 16, 16)
    assert list(tiles.runs(tiles.band)) == [
        (slice(0, 16), slice(0, 32)),
        (slice(0, 16), slice(48, 64)),
    ]


def in_strips(picture: Image, rows: int) -> Strips:
    """All in the same memory, one after the other."""

    def each() -> Iterator[Image]:
        buffer = np.empty((rows, *picture.shape[1:]), np.uint8)
        for top in range(0, len(picture), rows):
            strip = buffer[: len(picture) - top]
            strip[:] = picture[top : top + rows]
            yield strip
            buffer[:] = 7  # who looks later sees something else

    return Strips(*picture.shape, each)


def test_whole_picture_is_all_strips_one_below_the_other() -> None:
    picture = portrait(50, 31)
    strips = in_strips(picture, 16)
    assert strips.shape == picture.shape
    assert np.array_equal(strips.whole(), picture)
    assert np.array_equal(strips.whole(), picture)


def test_png_of_strips_is_that_of_the_picture() -> None:
    picture = portrait(211, 900)
    assert np.array_equal(pixels(png_writer.encode_png(in_strips(picture, 64))), picture)


def test_png_of_strips_larger_than_are_filtered_at_once() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (900, 1000, 4), np.uint8)
    assert np.array_equal(pixels(png_writer.encode_png(in_strips(picture, 500))), picture)
