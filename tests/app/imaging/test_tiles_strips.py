from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from app.imaging import decode
from app.imaging.tiles import Strips
from tests.support.images import Image, pixels, portrait


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
    assert np.array_equal(pixels(decode.encode_png(in_strips(picture, 64))), picture)


def test_png_of_strips_larger_than_are_filtered_at_once() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (900, 1000, 4), np.uint8)
    assert np.array_equal(pixels(decode.encode_png(in_strips(picture, 500))), picture)
