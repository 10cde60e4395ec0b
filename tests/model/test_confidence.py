"""Confidence is the mIoU to expect; specks are nobody."""

import numpy as np
import pytest

from model.confidence import confidence, has_foreground
from training.metrics import mean_iou


def disc(radius=20, size=64):
    y, x = np.mgrid[0:size, 0:size]
    return (np.hypot(x - 32, y - 32) < radius).astype(np.float32)


def test_a_decided_matte_is_trusted_and_an_undecided_one_is_not():
    assert confidence(disc()) == 1
    assert confidence(np.zeros((8, 8), np.float32)) == 1
    assert confidence(np.ones((8, 8), np.float32)) == 1
    assert confidence(np.full((8, 8), 0.5, np.float32)) == pytest.approx(0.25)


def test_confidence_is_the_miou_of_a_matte_whose_alphas_are_probabilities():
    draws = np.random.default_rng(0)
    alpha = np.clip(disc() * 0.7 + 0.1 + draws.normal(0, 0.1, (64, 64)), 0, 1).astype(np.float32)
    seen = [mean_iou(alpha, (draws.random(alpha.shape) < alpha).astype(np.float32)) for _ in range(200)]
    # 64 x 64 draws each: the mean of 200 is within a few thousandths of its limit, and so is E[a/b] of E[a]/E[b].
    assert confidence(alpha) == pytest.approx(np.mean(seen), abs=0.005)


def test_a_sharpened_alpha_is_trusted_as_the_one_it_was_made_of():
    draws = np.random.default_rng(0)
    alpha = np.clip(disc() * 0.7 + 0.1 + draws.normal(0, 0.1, (64, 64)), 0, 1).astype(np.float32)
    sharp = alpha**2 / (alpha**2 + (1 - alpha) ** 2)
    assert confidence(sharp) > confidence(alpha) + 0.02
    assert confidence(sharp, sharpness=2) == pytest.approx(confidence(alpha), abs=1e-4)


@pytest.mark.parametrize(("pixels", "found"), [(0, False), (100, False), (140, True), (65536, True)])
def test_less_than_a_speck_is_nobody(pixels, found):
    alpha = np.zeros(65536, np.float32)
    alpha[:pixels] = 0.9
    assert has_foreground(alpha.reshape(256, 256)) is found


def test_a_faint_ghost_is_nobody():
    assert has_foreground(np.full((64, 64), 0.4, np.float32)) is False
