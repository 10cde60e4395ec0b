"""The losses are zero at the truth, finite far from it, and follow their formulas."""

import numpy as np
import pytest
from keras import ops

from training.losses import LossWeights, deep_supervision_loss, matte_loss, soft_cross_entropy, soft_iou

ALPHA = np.array([0.0, 0.25, 0.5, 1.0], np.float32).reshape(1, 2, 2, 1)


def logit(alpha):
    inside = np.clip(alpha, 1e-6, 1 - 1e-6)
    return np.log(inside / (1 - inside)).astype(np.float32)


def test_every_term_vanishes_at_a_perfect_soft_matte():
    # Clipping alpha by 1e-6 leaves terms of that size.
    assert float(matte_loss(ALPHA, logit(ALPHA), LossWeights())) == pytest.approx(0, abs=1e-5)


def test_cross_entropy_is_the_divergence_of_two_coins():
    q = np.array([0.1, 0.6, 0.5, 0.7], np.float32).reshape(ALPHA.shape)
    p = np.clip(ALPHA.astype(np.float64), 1e-12, 1 - 1e-12)
    expected = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    actual = ops.convert_to_numpy(soft_cross_entropy(ALPHA, logit(q)))
    # The entropy is taken of alpha clipped by 1e-6: at most 1.5e-5 away.
    np.testing.assert_allclose(actual, expected, atol=2e-5)


def test_huge_logits_stay_finite():
    logits = np.array([1e4, -1e4, 1e4, -1e4], np.float32).reshape(ALPHA.shape)
    # max(z, 0) - z * alpha, far from 0: 1e4, 2.5e3, 5e3 and 1e4 (the labels' own entropy is below 1).
    expected = np.array([1e4, 2.5e3, 5e3, 1e4]).reshape(ALPHA.shape)
    np.testing.assert_allclose(ops.convert_to_numpy(soft_cross_entropy(ALPHA, logits)), expected, atol=1)


def test_soft_iou_of_equal_empty_and_disjoint_mattes():
    alpha = np.zeros((3, 4, 4, 1), np.float32)
    predicted = alpha.copy()
    alpha[0, :2] = predicted[0, :2] = 0.5
    alpha[2, :2], predicted[2, 2:] = 1, 1
    iou = ops.convert_to_numpy(soft_iou(alpha, predicted))
    np.testing.assert_allclose(iou, [1, 1, 1 / 17])


def test_side_weight_scales_the_sides_and_the_mean_keeps_its_size():
    good, bad = logit(ALPHA), -logit(ALPHA)
    one = float(matte_loss(ALPHA, bad, LossWeights()))
    sides_bad = float(deep_supervision_loss(ALPHA, [good] + [bad] * 6, LossWeights(side=0.5)))
    all_bad = float(deep_supervision_loss(ALPHA, [bad] * 7, LossWeights(side=0.5)))
    # Sums of float32 in another order.
    assert all_bad == pytest.approx(one, rel=1e-5)
    assert sides_bad == pytest.approx(one * 3 / 4, rel=1e-4)


def test_weights_choose_the_terms():
    only_absolute = LossWeights(cross_entropy=0, absolute=1, soft_iou=0)
    half = np.zeros_like(ALPHA)
    assert float(matte_loss(ALPHA, half, only_absolute)) == pytest.approx(np.abs(ALPHA - 0.5).mean())
