"""Long photos are cut into tiles of one shape that cover them, and tiles' mattes become the photo's."""

import itertools

import numpy as np
import pytest

from model.tiles import OVERLAP, TILES_MAX, WHOLE_UP_TO, joined, tiles


@pytest.mark.parametrize(("height", "width"), [(800, 4800), (4800, 800), (333, 1001), (50, 40_000)])
def test_tiles_cover_a_long_photo_and_overlap_their_neighbours_alone(height, width):
    boxes = tiles(height, width)
    along = [columns if width > height else rows for rows, columns in boxes]
    long, short = max(height, width), min(height, width)
    assert (along[0].start, along[-1].stop) == (0, long)
    assert 2 <= len(along) <= TILES_MAX
    assert len({part.stop - part.start for part in along}) == 1
    for before, after in itertools.pairwise(along):
        assert before.stop - after.start >= 0.9 * OVERLAP * short
    for before, after in zip(along, along[2:], strict=False):
        assert before.stop <= after.start


def test_eight_people_in_a_row_of_6_to_1_are_seen_in_photos_of_3_to_2():
    boxes = tiles(800, 4800)
    assert len(boxes) == 5
    assert all(1.3 < (columns.stop - columns.start) / 800 <= 1.5 for _, columns in boxes)


@pytest.mark.parametrize(
    ("height", "width"), [(100, 100), (100, int(100 * WHOLE_UP_TO)), (250, 100), (10, 200)]
)
def test_other_photos_stay_whole(height, width):
    assert tiles(height, width) == [(slice(0, height), slice(0, width))]


@pytest.mark.parametrize("upright", [False, True])
def test_parts_of_one_matte_make_that_matte_again(upright):
    matte = np.random.default_rng(0).integers(0, 256, (50, 400), np.uint8)
    matte = np.ascontiguousarray(matte.T) if upright else matte
    boxes = tiles(*matte.shape)
    assert len(boxes) > 2
    np.testing.assert_array_equal(joined([matte[box] for box in boxes], boxes, *matte.shape), matte)


def test_mattes_that_differ_fade_into_one_another():
    boxes = tiles(50, 400)
    parts = [
        np.full((50, columns.stop - columns.start), 255 * (i % 2), np.uint8)
        for i, (_, columns) in enumerate(boxes)
    ]
    row = joined(parts, boxes, 50, 400)[0].astype(int)
    assert np.abs(np.diff(row)).max() < 30
    assert (row.min(), row.max()) == (0, 255)
