"""Augmentation keeps image and matte together, and teaches no halo."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from model.transforms import BAR_COLOUR
from training.config import AugmentConfig
from training.data.augmentation import augment, estimate_foreground

NOTHING = AugmentConfig(**{field.name: 0.0 for field in dataclasses.fields(AugmentConfig)})
SIZE = 64


def disc(size=128):
    y, x = np.mgrid[0:size, 0:size] / size
    inside = np.hypot(x - 0.4, y - 0.55) < 0.3
    alpha = (inside * 255).astype(np.uint8)[:, :, None]
    image = np.where(inside[:, :, None], [250, 240, 230], [5, 10, 15]).astype(np.uint8)
    return image, alpha


def run(settings, key=0, background=None, companion=None):
    image, alpha = disc()
    pair = augment(
        tf.constant(image),
        tf.constant(alpha),
        tf.constant([7, key], tf.int64),
        settings,
        size=SIZE,
        background=None if background is None else lambda: tf.constant(background),
        companion=None if companion is None else lambda: tuple(map(tf.constant, companion)),
    )
    return tuple(part.numpy() for part in pair)


@pytest.mark.parametrize("key", range(8))
def test_every_geometry_moves_image_and_matte_alike(key):
    settings = dataclasses.replace(NOTHING, crop_share=0.5, crop_area_min=0.3, rotate_share=0.7)
    image, alpha = run(settings, key)
    brightness = (image[:, :, 0] - 5) / 245
    # Bilinear weights are the same for both; 8-bit pixels are exact at 0 and 255.
    np.testing.assert_allclose(brightness, alpha[:, :, 0], atol=0.01)


def test_the_same_key_gives_the_same_pixels_and_another_key_others():
    settings = AugmentConfig(background_share=1.0)
    wall = np.full((40, 50, 3), 90, np.uint8)
    first, again, other = run(settings, 1, wall), run(settings, 1, wall), run(settings, 2, wall)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_a_replaced_background_is_seen_outside_and_the_person_inside():
    wall = np.full((40, 50, 3), (0, 200, 0), np.uint8)
    image, alpha = run(dataclasses.replace(NOTHING, background_share=1.0), 3, wall)
    outside, inside = alpha[:, :, 0] == 0, alpha[:, :, 0] == 1
    assert outside.sum() > 500
    assert inside.sum() > 500
    np.testing.assert_allclose(image[outside], [[0, 200, 0]] * outside.sum(), atol=0.5)
    np.testing.assert_allclose(image[inside], [[250, 240, 230]] * inside.sum(), atol=0.5)


@pytest.mark.parametrize("key", range(6))
def test_a_person_set_anew_is_seen_where_the_matte_says_and_nowhere_else(key):
    wall = np.full((40, 50, 3), (0, 200, 0), np.uint8)
    settings = dataclasses.replace(NOTHING, background_share=1.0, place_share=1.0)
    image, alpha = run(settings, key, wall)
    kept = run(dataclasses.replace(settings, place_share=0.0), key, wall)[1]
    assert not np.array_equal(alpha, kept)
    expected = alpha * [250, 240, 230] + (1 - alpha) * [0, 200, 0]
    # Colour and alpha are interpolated on their own, so a half-transparent pixel may be a little off.
    solid = (alpha[:, :, 0] == 0) | (alpha[:, :, 0] == 1)
    np.testing.assert_allclose(image[solid], expected[solid], atol=1)


@pytest.mark.parametrize("key", range(6))
def test_a_second_person_joins_the_first_in_image_and_matte(key):
    blue = np.full((90, 60, 3), (10, 20, 250), np.uint8)
    inside = np.zeros((90, 60, 1), np.uint8)
    inside[30:, 15:45] = 255
    alone = run(NOTHING, key)[1]
    image, alpha = run(dataclasses.replace(NOTHING, companion_share=1.0), key, companion=(blue, inside))
    assert (alpha >= alone - 1e-6).all()
    theirs = image[:, :, 2] - image[:, :, 0] > 200
    assert theirs.any()
    assert (alpha[theirs] > 0.8).all()
    untouched = (alpha == 0)[:, :, 0]
    np.testing.assert_allclose(image[untouched], [[5, 10, 15]] * untouched.sum(), atol=0.5)


def test_an_empty_picture_has_an_empty_matte():
    wall = np.full((40, 50, 3), (0, 200, 0), np.uint8)
    image, alpha = run(dataclasses.replace(NOTHING, empty_share=1.0), 4, wall)
    assert alpha.max() == 0
    np.testing.assert_allclose(image, np.broadcast_to([0, 200, 0], image.shape), atol=0.5)


def test_estimated_foreground_carries_no_halo_of_the_old_background():
    """A soft-edged red disc on white: where it is half transparent, its own colour is still red, not pink."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    alpha = np.clip((0.3 - np.hypot(x - 0.5, y - 0.5)) * 12 + 0.5, 0, 1).astype(np.float32)[:, :, None]
    red, white = np.array([0.8, 0.1, 0.1], np.float32), np.ones(3, np.float32)
    image = alpha * red + (1 - alpha) * white
    band = (alpha[:, :, 0] > 0.2) & (alpha[:, :, 0] < 0.8)
    estimated = estimate_foreground(tf.constant(image), tf.constant(alpha)).numpy()
    halo_before = np.abs(image[band] - red).mean()
    halo_after = np.abs(estimated[band] - red).mean()
    assert halo_after < halo_before / 5


@pytest.mark.parametrize("share", ["colour_share", "grey_share", "blur_share", "jpeg_share", "noise_share"])
def test_light_and_camera_change_the_image_and_never_the_matte(share):
    plain_image, plain_alpha = run(NOTHING, 5)
    image, alpha = run(dataclasses.replace(NOTHING, **{share: 1.0}), 5)
    assert np.abs(image - plain_image).max() > 1
    np.testing.assert_array_equal(alpha, plain_alpha)
    assert image.min() >= 0
    assert image.max() <= 255


@pytest.mark.parametrize("key", range(4))
def test_bars_have_their_colour_and_no_matte(key):
    plain_alpha = run(NOTHING, key)[1]
    image, alpha = run(dataclasses.replace(NOTHING, letterbox_share=1.0), key)
    bars = (np.abs(image - BAR_COLOUR) < 0.5).all(axis=2)
    rows, columns = bars.all(axis=1), bars.all(axis=0)
    assert rows.any() != columns.any()
    assert (alpha[bars] == 0).all()
    share = max(rows.mean(), columns.mean())
    assert 0 < share <= 0.5
    # The same person, smaller by as much as the bars take.
    assert alpha.sum() == pytest.approx(plain_alpha.sum() * (1 - share), rel=0.03)


def test_a_one_pixel_picture_survives():
    key = tf.constant([0, 0], tf.int64)
    image, alpha = tf.zeros([1, 1, 3], tf.uint8), tf.zeros([1, 1, 1], tf.uint8)
    out, matte = augment(image, alpha, key, AugmentConfig(crop_share=1.0), size=SIZE)
    assert out.shape == (SIZE, SIZE, 3)
    assert matte.numpy().max() == 0
