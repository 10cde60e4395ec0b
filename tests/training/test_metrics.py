"""Metrics by hand on a few pixels."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from training.metrics import gradient_error, mean_iou, score_matte

TRUTH = np.array([[0.0, 0.5], [1.0, 1.0]])
PREDICTED = np.array([[0.25, 0.5], [1.0, 0.0]])
TRIMAP = np.array([[0, 128], [255, 128]], np.uint8)


def test_by_hand():
    scores = score_matte(PREDICTED, TRUTH, TRIMAP)
    assert scores.pop("GRAD") == gradient_error(PREDICTED, TRUTH)
    assert scores == {
        "SAD": pytest.approx(1.25 / 1000),
        "MSE": pytest.approx((0.0625 + 1) / 4),
        "MAD": pytest.approx(1.25 / 4),
        # foreground {.5, 1} of {.5, 1, 1}; background {.25} of {.25, 0}
        "mIoU": pytest.approx((2 / 3 + 1 / 2) / 2),
        "SAD-T": pytest.approx(1 / 1000),
        "MSE-T": pytest.approx(1 / 2),
        "MAD-T": pytest.approx(1 / 2),
    }


def test_the_gradient_error_is_that_of_scipys_gaussian_derivatives():
    draws = np.random.default_rng(0)
    predicted, truth = (np.clip(gaussian_filter(draws.normal(0.5, 2, (47, 61)), 2), 0, 1) for _ in range(2))

    def magnitude(alpha):
        return np.hypot(*(gaussian_filter(alpha, 1.4, order=order) for order in ((0, 1), (1, 0))))

    expected = ((magnitude(predicted) - magnitude(truth)) ** 2).sum() / 10
    assert expected > 0.1
    assert gradient_error(predicted, truth) == pytest.approx(expected, rel=1e-9)
    single = gradient_error(predicted.astype(np.float32), truth.astype(np.float32))
    assert single == pytest.approx(expected, rel=1e-5)


def test_a_perfect_matte_scores_perfectly():
    scores = score_matte(TRUTH, TRUTH, TRIMAP)
    assert scores.pop("mIoU") == 1
    assert set(scores.values()) == {0}


def test_without_a_trimap_the_bands_metrics_are_left_out():
    assert "SAD-T" not in score_matte(PREDICTED, TRUTH)


def test_a_trimap_without_a_band_costs_nothing():
    assert score_matte(PREDICTED, TRUTH, np.zeros_like(TRIMAP))["MAD-T"] == 0


def test_an_empty_matte_for_an_empty_truth_is_right():
    empty = np.zeros((2, 2))
    assert mean_iou(empty, empty) == 1
    assert mean_iou(empty + 1, empty) == 0


@pytest.mark.parametrize(
    ("predicted", "truth", "trimap", "message"),
    [
        (np.zeros((2, 3)), TRUTH, None, "one size"),
        (np.zeros((2, 2, 1)), np.zeros((2, 2, 1)), None, r"\[H,W\]"),
        (PREDICTED, TRUTH, np.zeros((3, 2), np.uint8), "the trimap is"),
        (PREDICTED * 255, TRUTH, None, r"the prediction has values outside 0\.\.1"),
        (PREDICTED * np.nan, TRUTH, None, r"the prediction has values outside 0\.\.1"),
    ],
)
def test_impossible_input_is_refused(predicted, truth, trimap, message):
    with pytest.raises(ValueError, match=message):
        score_matte(predicted, truth, trimap)
