from __future__ import annotations

import cv2
import numpy as np
import pytest

from app.imaging import foreground
from app.imaging.foreground import TILE, TIMES_HIGHER, cut_out, estimate_foreground
from tests.support.kernels import both_ways

PERSON, GROUND = (190, 120, 60), (20, 200, 90)


way = both_ways(foreground)


def loose_hair(height: int, width: int):
    """A round head with hairs all around, alpha uint8."""
    alpha = np.zeros((height, width), np.uint8)
    draws = np.random.default_rng(1)
    centre, radius = np.array([width / 2, height / 2]), min(height, width) / 4
    cv2.circle(alpha, tuple(centre.astype(int).tolist()), int(radius), 255, -1, cv2.LINE_AA)
    for angle in draws.uniform(0, 2 * np.pi, 150):
        way = np.array([np.cos(angle), np.sin(angle)]) * radius
        ends = (
            (centre + way * 0.9).astype(int).tolist(),
            (centre + way * draws.uniform(1.2, 1.6)).astype(int).tolist(),
        )
        cv2.line(alpha, *ends, 255, 1, cv2.LINE_AA)
    return cv2.GaussianBlur(alpha, (0, 0), 0.7)


def over(colours, alpha, ground):
    share = alpha[..., None] / 255
    return share * np.asarray(colours, float) + (1 - share) * np.asarray(ground, float)


def photo_of(person, alpha, ground):
    return np.rint(over(person, alpha, ground)).astype(np.uint8)


def test_hair_on_a_new_ground_keeps_little_of_the_old_one() -> None:
    alpha = loose_hair(300, 400)
    image = photo_of(PERSON, alpha, GROUND)
    band = (alpha > 0) & (alpha < 255)
    wanted = over(PERSON, alpha, (255, 255, 255))

    def error(colours) -> float:
        return float(np.abs(over(colours, alpha, (255, 255, 255)) - wanted)[band].mean())

    assert error(estimate_foreground(image, alpha)) < error(image) / 2.5


def test_uneven_layers_are_told_apart_too() -> None:
    alpha = loose_hair(300, 400)
    draws = np.random.default_rng(2)
    person, ground = (
        np.clip(
            cv2.resize(draws.normal(mean, 25, (20, 27, 3)), (400, 300), interpolation=cv2.INTER_CUBIC), 0, 255
        )
        for mean in (PERSON, GROUND)
    )
    image = photo_of(person, alpha, ground)
    band = (alpha > 0) & (alpha < 255)
    before, after = (
        np.abs(over(colours, alpha, 0) - over(person, alpha, 0))[band].mean()
        for colours in (image, estimate_foreground(image, alpha))
    )
    assert after < before / 2


def test_where_alpha_is_full_the_colours_are_the_photos() -> None:
    alpha = loose_hair(200, 150)
    image = np.random.default_rng(0).integers(0, 256, (200, 150, 3), dtype=np.uint8)
    assert np.array_equal(estimate_foreground(image, alpha)[alpha == 255], image[alpha == 255])


def test_hidden_pixels_hold_the_persons_colour_near_him_and_nothing_elsewhere() -> None:
    alpha = np.zeros((1000, 1000), np.uint8)
    alpha[450:550, 450:550] = 255
    ground = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3))
    foreground = estimate_foreground(photo_of(PERSON, alpha, ground), alpha)
    hidden = foreground[alpha == 0]
    assert ((hidden == PERSON) | (hidden == 0)).all()
    wide = TILE * 4  # pixels: the photo is sampled at each fourth
    high = wide * TIMES_HIGHER
    near = foreground[450 - high : 550 + high, 450 - wide : 550 + wide]
    assert (near == PERSON).all()
    assert not foreground[:, : 450 - 2 * wide].any()
    assert not foreground[: 450 - 2 * high].any()


def test_faint_haze_far_from_the_person_shows_nothing_of_the_ground() -> None:
    alpha = np.zeros((600, 600), np.uint8)
    alpha[400:, 400:] = 255
    alpha[:100, :100] = 2
    image = photo_of(PERSON, alpha, GROUND)
    haze = estimate_foreground(image, alpha)[:100, :100].astype(int)
    assert np.abs(haze - PERSON).max() <= 5


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (3, 2), (257, 600), (299, 1030), (2, 100_000)])
def test_any_size_and_shape_is_worked_on_to_its_edges(size) -> None:
    # Few half transparent pixels: they bring a little of the other layer into the means.
    alpha = np.random.default_rng(1).choice(np.array([0, 100, 255], np.uint8), size, p=(0.45, 0.1, 0.45))
    alpha[0, 0] = 255
    foreground = estimate_foreground(photo_of(PERSON, alpha, GROUND), alpha)
    assert foreground.shape == (*size, 3)
    # Of layers 170 levels apart; a tile laid a pixel off would show them in each other's place.
    assert np.abs(foreground.astype(int) - PERSON)[alpha > 0].max() <= 15


@pytest.mark.parametrize("turned", [False, True])
def test_means_lie_where_they_were_taken(turned) -> None:
    image = np.zeros((420, 1040, 3), np.uint8)
    image[:, 520:] = 255
    alpha = np.full((420, 1040), 255, np.uint8)
    alpha[::3] = 0
    if turned:
        found = estimate_foreground(image.transpose(1, 0, 2).copy(), alpha.T.copy()).transpose(1, 0, 2)
    else:
        found = estimate_foreground(image, alpha)
    hidden = found[210, :, 0].astype(int)
    mirrored = 255 - hidden[::-1]
    assert 20 < hidden[500] < hidden[515] < 128 < hidden[525] < hidden[540] < 235
    # A sample, five pixels, aside would be 40 levels and more at the step; half a pixel is a tenth of that.
    assert np.abs(hidden - mirrored).max() <= 10


@pytest.mark.parametrize(("value", "kept"), [(0, False), (255, True)])
def test_matte_without_an_edge_gives_the_photo_or_nothing(value, kept) -> None:
    image = np.random.default_rng(0).integers(0, 256, (70, 50, 3), dtype=np.uint8)
    foreground = estimate_foreground(image, np.full((70, 50), value, np.uint8))
    assert np.array_equal(foreground, image if kept else np.zeros_like(image))


def test_levels_at_the_ends_of_the_range_do_not_wrap() -> None:
    alpha = np.random.default_rng(3).integers(0, 256, (120, 120), dtype=np.uint8)
    extreme = np.random.default_rng(4).choice(np.array([0, 255], np.uint8), (120, 120, 3))
    foreground = estimate_foreground(extreme, alpha).astype(int)
    sure = alpha >= 250
    assert np.abs(foreground - extreme)[sure].max() <= 16


def test_part_of_a_larger_picture_is_taken_as_it_is_and_nothing_is_changed() -> None:
    alpha = loose_hair(300, 400)
    image = photo_of(PERSON, alpha, GROUND)
    for each in (image, alpha):
        each.setflags(write=False)
    part = (slice(40, 260), slice(33, 370))
    assert np.array_equal(
        estimate_foreground(image[part], alpha[part]),
        estimate_foreground(image[part].copy(), alpha[part].copy()),
    )


@pytest.mark.parametrize("shape", [(300, 400), (64, 64), (7, 5), (1, 90)])
def test_cut_out_is_the_estimate_with_alpha_in_one_pass(shape: tuple[int, int]) -> None:
    draws = np.random.default_rng(5)
    image = draws.integers(0, 256, (*shape, 3), np.uint8)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    ramp = 0.3 * max(shape) - np.hypot(x - shape[1] / 2, y - shape[0] / 2)
    alpha = np.clip(ramp * 16, 0, 255).astype(np.uint8)
    alpha[:, -1] = 1  # hardly anything, far from the person
    rgba = cut_out(image, alpha).whole()
    np.testing.assert_array_equal(rgba[..., 3], alpha)
    np.testing.assert_array_equal(rgba[..., :3], estimate_foreground(image, alpha))
