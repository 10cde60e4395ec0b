"""The refined matte follows the photo's edge, and leaves what the network was sure of alone."""

import cv2
import numpy as np
import pytest

from model import refine as module
from model.transforms import stretch, to_8_bits
from tests.support.kernels import both_ways

SIZE = 64


way = both_ways(module)


def refine(image, square, alpha):
    """In 0..1."""
    matte = module.refine(image, square, alpha)
    assert matte.dtype == np.uint8
    return matte / np.float32(255)


def photo(height=400, width=300):
    """A bright disc on a dark ground, and its alpha at full size."""
    y, x = np.mgrid[0:height, 0:width]
    alpha = np.clip(0.3 * width - np.hypot(x - width / 2, y - height / 2) + 0.5, 0, 1).astype(np.float32)
    image = np.rint(alpha[:, :, None] * [230, 180, 150] + (1 - alpha[:, :, None]) * [20, 40, 60])
    return image.astype(np.uint8), alpha


def seen_by_the_network(image, alpha, size=SIZE):
    """What a perfect network would give: the true alpha in the square, a little soft as networks' edges are."""
    small = cv2.resize(alpha, (size, size), interpolation=cv2.INTER_AREA)
    return stretch(image, size, size), cv2.GaussianBlur(small, (0, 0), 0.8)


def test_a_coarse_edge_becomes_the_photos_own():
    image, truth = photo()
    square, coarse = seen_by_the_network(image, truth)
    before = np.abs(stretch(coarse, *truth.shape) - truth).mean()
    after = np.abs(refine(image, square, coarse) - truth).mean()
    assert after < before / 2


def test_flat_areas_are_as_the_network_gave_them():
    image, truth = photo()
    square, coarse = seen_by_the_network(image, truth)
    # A photo full of texture that the matte must not pick up where it is decided.
    image = np.clip(image + np.random.default_rng(0).normal(0, 40, image.shape), 0, 255).astype(np.uint8)
    plain, refined = stretch(to_8_bits(coarse), *truth.shape), module.refine(image, square, coarse)
    far = cv2.erode(((plain == 0) | (plain == 255)).astype(np.uint8), np.ones((41, 41), np.uint8)) == 1
    assert far.mean() > 0.3
    np.testing.assert_array_equal(refined[far], plain[far])


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_decided_matte_stays_constant(value):
    image, _ = photo()
    square = stretch(image, SIZE, SIZE)
    refined = refine(image, square, np.full((SIZE, SIZE), value, np.float32))
    assert refined.shape == image.shape[:2]
    assert (refined == np.float32(value)).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (64, 64), (129, 257), (90, 40)])
def test_every_size_gives_a_matte_of_that_size(size):
    draws = np.random.default_rng(1)
    image = draws.integers(0, 256, (*size, 3), np.uint8)
    alpha = draws.uniform(0, 1, (SIZE, SIZE)).astype(np.float32)
    refined = refine(image, stretch(image, SIZE, SIZE), alpha)
    assert refined.shape == size
    # Chance has no edge to follow: the matte is about as opaque as it was.
    assert abs(refined.mean() - stretch(alpha, *size).mean()) < 0.15


def test_a_one_coloured_photo_leaves_the_matte_to_the_network():
    image = np.full((300, 200, 3), 120, np.uint8)
    alpha = seen_by_the_network(*photo(300, 200))[1]
    refined = refine(image, stretch(image, SIZE, SIZE), alpha)
    # No colour varies, so the fit is the window's mean alpha: a blur, and nothing else.
    assert np.abs(refined - stretch(alpha, 300, 200)).max() < 0.6
    assert np.abs(refined.mean() - alpha.mean()) < 0.01


def test_inputs_are_not_changed():
    image, truth = photo()
    square, coarse = seen_by_the_network(image, truth)
    copies = image.copy(), square.copy(), coarse.copy()
    refine(image, square, coarse)
    for now, then in zip((image, square, coarse), copies, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_photo_between_bars_is_refined_like_any_other():
    """The part of the square that holds the photo need not be square."""
    image, truth = photo(300, 600)
    square, coarse = (stretch(each, 32, SIZE) for each in (image, truth))
    coarse = cv2.GaussianBlur(coarse, (0, 0), 0.8)
    before = np.abs(stretch(coarse, *truth.shape) - truth).mean()
    after = np.abs(refine(image, square, coarse) - truth).mean()
    assert after < before / 2
