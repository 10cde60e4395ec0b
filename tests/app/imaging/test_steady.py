"""Alpha between frames: steady where the picture stays, at once the new one where it does not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from app.imaging.steady import FRAMES, Steadiness
from model.transforms import Alpha8, Image

HEIGHT, WIDTH = 180, 320
RADIUS = 36
SOFT = 4  # pixels of alpha's edge, as a standard deviation


def head(x: float, contrast: int, noise: float, draws: np.random.Generator) -> tuple[Image, Alpha8]:
    """A round head at column `x` before an uneven ground, with a camera's noise, and its soft true alpha."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    alpha = np.clip((RADIUS - np.hypot(rows - HEIGHT / 2, columns - x)) / SOFT + 0.5, 0, 1)
    ground = 90 + 10 * np.sin(columns / 9) + 10 * np.cos(rows / 7)
    picture = ground[..., None] + (alpha * contrast)[..., None] * np.array([1.0, 0.6, 0.3])
    noisy = np.clip(picture + draws.normal(0, noise, picture.shape), 0, 255).astype(np.uint8)
    return noisy, np.rint(alpha * 255).astype(np.uint8)


def trembling(alpha: Alpha8, draws: np.random.Generator) -> Alpha8:
    return np.clip(alpha + draws.normal(0, 12, alpha.shape), 0, 255).astype(np.uint8)


def flicker(alphas: list[Alpha8]) -> float:
    return float(np.abs(np.diff(np.stack(alphas).astype(np.float32), axis=0)).mean())


def test_alpha_of_a_still_picture_trembles_far_less_for_all_its_noise():
    draws, steadiness = np.random.default_rng(1), Steadiness()
    plain, steadied = [], []
    for _ in range(30):
        image, truth = head(160, 80, 6, draws)
        plain.append(trembling(truth, draws))
        steadied.append(steadiness.steady(image, plain[-1]))
    # A mean of FRAMES and 1 leaves (1 - k) / sqrt(1 + k) of independent noise, with k = FRAMES / (FRAMES + 1).
    share = FRAMES / (FRAMES + 1)
    assert flicker(steadied[10:]) < 1.2 * flicker(plain[10:]) * (1 - share) / np.sqrt(1 + share)
    assert abs(float(steadied[-1].mean()) - float(plain[-1].mean())) < 1


# Where contrast is low and the head slow, the picture is the same but for noise until the mean lags by some pixels.
@pytest.mark.parametrize("contrast", [30, 60, 120])
@pytest.mark.parametrize("speed", [0.3, 1, 3, 9, 30])
def test_moving_head_leaves_no_trail(speed, contrast):
    draws, steadiness = np.random.default_rng(2), Steadiness()
    for number in range(60):
        x = 60 + 100 * (1 - abs(1 - number * speed / 100 % 2))  # to and fro
        image, truth = head(x, contrast, 3, draws)
        alpha = steadiness.steady(image, truth)
        passed = cv2.dilate(truth, np.ones((9, 9), np.uint8)) == 0
        inside = cv2.erode(truth, np.ones((9, 9), np.uint8)) == 255
        assert alpha[passed].max() <= 3, number
        assert alpha[inside].min() >= 252, number
        assert np.abs(alpha.astype(int) - truth).mean() < 1, number


def test_another_scene_begins_with_its_own_alpha():
    draws, steadiness = np.random.default_rng(3), Steadiness()
    for _ in range(10):
        steadiness.steady(*head(100, 80, 3, draws))
    image, truth = head(220, 80, 3, draws)
    bright = np.clip(image.astype(int) + 60, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(steadiness.steady(bright, truth), truth)


def test_only_what_moves_begins_anew():
    draws, steadiness = np.random.default_rng(4), Steadiness()
    image, truth = head(80, 80, 0, draws)
    for _ in range(10):
        steadiness.steady(image, truth)
    moved = image.copy()
    moved[60:120, 220:280] = 250
    alpha = steadiness.steady(moved, 255 - truth)
    kept = alpha.astype(int) - truth
    assert np.abs(kept[:, :180]).max() <= round(255 / (FRAMES + 1))
    np.testing.assert_array_equal(alpha[60:120, 220:280], 255 - truth[60:120, 220:280])


@pytest.mark.parametrize("step", [1, 2, 90])
def test_alpha_that_changes_for_good_is_reached_however_small_the_step(step):
    steadiness = Steadiness()
    image = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    before = np.full((HEIGHT, WIDTH), 100, np.uint8)
    for _ in range(10):
        steadiness.steady(image, before)
    for _ in range(40):
        alpha = steadiness.steady(image, before + np.uint8(step))
    assert (alpha == 100 + step).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (7, 1300), (181, 321), (720, 1280)])
def test_any_size_goes_in_and_comes_out(shape):
    draws, steadiness = np.random.default_rng(5), Steadiness()
    image, alpha = draws.integers(0, 256, (*shape, 3), np.uint8), draws.integers(0, 256, shape, np.uint8)
    for each in (image, alpha):
        each.setflags(write=False)
    for _ in range(3):
        made = steadiness.steady(image, alpha)
        assert made.dtype == np.uint8
        np.testing.assert_array_equal(made, alpha)
