"""There and back between a photo and the network's square."""

import numpy as np
import pytest

from model.contract import GEOMETRIES
from model.transforms import BAR_COLOUR, content_box, to_8_bits, to_image_size, to_model_input


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(
    ("height", "width"), [(1, 900), (900, 1), (1, 1), (320, 320), (97, 2048), (3000, 2000)]
)
def test_any_size_goes_to_the_square_and_back(height, width, geometry):
    image = np.full((height, width, 3), 77, np.uint8)
    square = to_model_input(image, 320, geometry)
    assert square.shape == (320, 320, 3)
    assert square.dtype == np.uint8
    content = square[content_box(height, width, 320, geometry)]
    assert np.unique(content).tolist() == [77]
    bars = content.shape[:2] != (320, 320)
    assert (square == BAR_COLOUR).all(axis=2).any() == bars
    alpha = to_image_size(np.full((320, 320), 0.25, np.float32), height, width, geometry)
    assert alpha.shape == (height, width)
    assert alpha.dtype == np.float32
    # Averaging weights add up to 1 within float32's rounding.
    np.testing.assert_allclose(alpha, 0.25, atol=1e-6)


def test_shrinking_averages_so_that_stripes_turn_grey():
    stripes = np.zeros((640, 640, 3), np.uint8)
    stripes[:, ::2] = 254
    assert np.unique(to_model_input(stripes, 320, "stretch")).tolist() == [127]


@pytest.mark.parametrize(
    ("geometry", "height", "width", "content"),
    [
        ("stretch", 100, 300, (240, 240)),
        ("limited", 600, 800, (240, 240)),
        ("limited", 800, 600, (240, 240)),
        ("limited", 100, 200, (160, 240)),
        ("limited", 300, 100, (240, 107)),
        ("letterbox", 600, 800, (180, 240)),
        ("letterbox", 300, 100, (240, 80)),
    ],
)
def test_a_photo_is_stretched_as_far_as_the_geometry_lets_it(geometry, height, width, content):
    rows, columns = content_box(height, width, 240, geometry)
    assert (rows.stop - rows.start, columns.stop - columns.start) == content
    assert abs(rows.start - (240 - rows.stop)) <= 1
    assert abs(columns.start - (240 - columns.stop)) <= 1


# A shift by one pixel of the square would cost about 0.9 % of the disc. Its blurred rim is a pixel of the square
# wide, and the letterbox has fewer rows.
@pytest.mark.parametrize(("geometry", "kept"), [("stretch", 0.995), ("limited", 0.995), ("letterbox", 0.994)])
def test_both_ways_share_one_geometry(geometry, kept):
    """A matte that is the shrunken photo lands on the photo again, without a shift."""
    y, x = np.mgrid[0:480, 0:640]
    photo = (np.hypot((y - 200) / 120, (x - 350) / 160) < 1).astype(np.uint8) * 255
    square = to_model_input(np.repeat(photo[:, :, None], 3, 2), 320, geometry)[:, :, 0]
    back = to_image_size(square.astype(np.float32) / 255, 480, 640, geometry)
    inside, outside = back[photo > 0].mean(), back[photo == 0].mean()
    assert inside > kept
    assert outside < 0.002
    rows, columns = (np.average(axis, weights=back) for axis in (y, x))
    np.testing.assert_allclose([rows, columns], [200, 350], atol=0.05)


def test_alpha_stays_within_its_range():
    alpha = np.random.default_rng(1).random((320, 320), np.float32).round()
    for size in ((37, 41), (1000, 700)):
        back = to_image_size(alpha, *size, "letterbox")
        assert back.min() >= 0
        assert back.max() <= 1


def test_every_step_of_alpha_is_kept():
    steps = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(to_8_bits((steps / 255).astype(np.float32)), steps)


def test_alpha_is_rounded_and_not_stretched():
    alpha = np.array([[0.2, 0.4016]], np.float32)
    assert to_8_bits(alpha).tolist() == [[51, 102]]
