from __future__ import annotations

import numpy as np
import pytest

from app.imaging import compose
from tests.support.images import portrait


def drawn(height: int = 150, width: int = 200):
    """Random colours, another such picture, and a matte with flat and uneven areas."""
    draws = np.random.default_rng(7)
    image, other = draws.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    alpha = draws.integers(0, 256, (height, width), dtype=np.uint8)
    alpha[:, : width // 3], alpha[:, -width // 3 :] = 0, 255
    for each in (image, other, alpha):
        each.setflags(write=False)
    return image, other, alpha


def over(colours, alpha, ground):
    share = alpha[..., None] / 255
    return share * colours + (1 - share) * np.asarray(ground, float)


def test_cutout_is_the_photo_with_the_matte_as_alpha() -> None:
    image = portrait()
    image.setflags(write=False)
    alpha = (np.arange(60 * 80) % 256).astype(np.uint8).reshape(60, 80)
    rgba = compose.compose_rgba(image, alpha)
    assert np.array_equal(rgba[..., :3], image)
    assert np.array_equal(rgba[..., 3], alpha)


def test_over_a_picture_is_rounded_to_the_nearest_level() -> None:
    image, other, alpha = drawn()
    laid = compose.lay_over(image, alpha, other)
    assert np.array_equal(laid, np.rint(over(image, alpha, other)))


def test_over_a_colour_is_over_a_picture_of_it() -> None:
    image, _, alpha = drawn()
    colour = (255, 0, 17)
    plain = np.tile(np.array(colour, np.uint8), (*alpha.shape, 1))
    assert np.array_equal(compose.lay_over(image, alpha, colour), compose.lay_over(image, alpha, plain))


def test_every_pair_of_level_and_alpha_is_rounded_right() -> None:
    level, alpha = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    image = np.repeat(level[..., None], 3, axis=2)
    laid = compose.lay_over(image, alpha, (255, 128, 0))
    assert np.array_equal(laid, np.floor(over(image, alpha, (255, 128, 0)) + 0.5))


def test_shadow_under_a_cutout_darkens_any_ground_as_if_it_lay_on_it() -> None:
    image, other, alpha = drawn()
    shadow = np.random.default_rng(1).integers(0, 200, alpha.shape, dtype=np.uint8)
    laid = compose.lay_over(*compose.lay_under(image, alpha, (0, 0, 0), shadow), other)
    wanted = over(image, alpha, over(np.zeros_like(other), shadow, other))
    # Alpha and colours are each rounded to 8 bits on the way.
    assert np.abs(laid - wanted).max() <= 2


def test_half_transparent_colour_shows_behind_the_person_only() -> None:
    image, _, alpha = drawn()
    colours, total = compose.lay_under(image, alpha, (10, 200, 30), 128)
    assert np.array_equal(colours[alpha == 255], image[alpha == 255])
    assert (colours[alpha == 0] == (10, 200, 30)).all()
    assert (total[alpha == 0] == 128).all()
    assert (total >= alpha).all()


def test_nothing_laid_under_changes_nothing() -> None:
    image, _, alpha = drawn()
    colours, total = compose.lay_under(image, alpha, (10, 200, 30), 0)
    assert np.array_equal(total, alpha)
    assert np.array_equal(colours, image)


def test_full_opacity_laid_under_is_the_same_as_over_the_colour() -> None:
    image, _, alpha = drawn()
    colours, total = compose.lay_under(image, alpha, (10, 200, 30), 255)
    assert (total == 255).all()
    assert np.array_equal(colours, compose.lay_over(image, alpha, (10, 200, 30)))


@pytest.mark.parametrize("size", [(31, 47), (150, 133), (80, 120)])
def test_resized_cutout_has_no_hidden_colour_in_its_edge(size) -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[:, :50], image[:, 50:] = (200, 150, 100), (0, 255, 0)
    alpha = np.zeros((100, 100), np.uint8)
    alpha[:, :50] = 255
    small = compose.resize_cutout(compose.compose_rgba(image, alpha), *size)
    assert small.shape == (*size, 4)
    # Colours of low alpha are stored in few steps.
    seen = small[..., 3] > 40
    assert np.abs(small[..., :3][seen].astype(int) - (200, 150, 100)).max() <= 4
    assert not small[small[..., 3] == 0].any()
