from __future__ import annotations

import numpy as np
import pytest

from app.imaging.render import blurred, cover


def stripes(height: int, width: int):
    """Red, green and blue, side by side."""
    picture = np.zeros((height, width, 3), np.uint8)
    for channel in range(3):
        picture[:, width * channel // 3 : width * (channel + 1) // 3, channel] = 255
    return picture


def test_cover_shows_the_middle_and_loses_as_little_as_it_must() -> None:
    picture = stripes(100, 300)
    for each in (picture, picture.transpose(1, 0, 2)):
        covered = cover(each, 50, 50)
        assert covered.shape == (50, 50, 3)
        assert (covered == (0, 255, 0)).all()


@pytest.mark.parametrize("size", [(40, 120), (100, 300), (77, 231), (250, 750), (33, 99)])
def test_cover_of_the_same_shape_shows_all(size) -> None:
    covered = cover(stripes(100, 300), *size)
    assert covered.shape == (*size, 3)
    middle = size[0] // 2
    shown = covered[middle, [size[1] // 6, size[1] // 2, size[1] * 5 // 6]]
    assert shown.tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
def test_cover_fills_the_strangest_shape(size) -> None:
    assert cover(stripes(20, 30), *size).shape == (*size, 3)


def test_cover_leaves_the_picture_as_it_is() -> None:
    picture = stripes(30, 30)
    covered = cover(picture, 30, 30)
    assert np.array_equal(covered, picture)
    assert not np.shares_memory(covered, picture)


@pytest.mark.parametrize("strength", [1, 30, 100])
def test_blurred_ground_holds_nothing_of_the_person(strength) -> None:
    image = np.full((400, 500, 3), (30, 90, 200), np.uint8)
    alpha = np.zeros((400, 500), np.uint8)
    alpha[150:, 180:320] = 255
    alpha[130:150, 180:320] = 128
    image[alpha == 255] = (255, 0, 0)
    image[alpha == 128] = (143, 45, 100)
    ground = blurred(image, alpha, strength)
    # What is half the person's counts a little, also where nothing else is near.
    assert np.abs(ground[:120].astype(int) - (30, 90, 200)).max() <= 8
    assert np.abs(ground[:, :170].astype(int) - (30, 90, 200)).max() <= 8


def test_more_strength_blurs_more() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    nobody = np.zeros((300, 400), np.uint8)
    spreads = [float(blurred(image, nobody, strength).std()) for strength in (1, 25, 50, 100)]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[0] < image.std() / 2


def test_blur_stays_where_it_was() -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    image[140:160, 290:310] = 255
    ground = blurred(image, np.zeros((300, 400), np.uint8), 60)[..., 0].astype(float)
    centre = (
        ground.sum(axis=1) @ np.arange(300) / ground.sum(),
        ground.sum(axis=0) @ np.arange(400) / ground.sum(),
    )
    assert centre == pytest.approx((149.5, 299.5), abs=2)


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (5, 3)])
def test_blur_takes_any_size(size) -> None:
    assert blurred(np.full((*size, 3), 80, np.uint8), np.zeros(size, np.uint8), 100).tolist() == (
        np.full((*size, 3), 80).tolist()
    )
