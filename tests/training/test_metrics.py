"""Metrics by hand on a few pixels, and against slow references written from P3M-10k's definitions."""

import itertools

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.measure import label

from training.metrics import connected_level, gradient_error, largest_component, mean_iou, score_matte

TRUTH = np.array([[0.0, 0.5], [1.0, 1.0]])
PREDICTED = np.array([[0.25, 0.5], [1.0, 0.0]])
TRIMAP = np.array([[0, 128], [255, 128]], np.uint8)
BAND = {"SAD-T", "MSE-T", "MAD-T"}

# float64 sums in another order
ORDER = 1e-9


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
        "SAD-FG": 0,
        "SAD-BG": pytest.approx(0.25 / 1000),
        # Shared {0, .5, 1, 0}: .25 and the lower 1 are connected up to level 0, and so charged in full.
        "CONN": pytest.approx((0.25 + 1) / 1000),
    }


def test_the_bands_metrics_count_a_truth_that_the_trimap_contradicts():
    truth = np.array([[0.25, 0.5], [0.75, 1.0]])
    scores = score_matte(np.full((2, 2), 0.5), truth, TRIMAP)
    # background .25 against 0, foreground .75 against 1, in the band 0 and .5; two pixels are unknown
    assert {name: scores[name] for name in BAND} == {
        "SAD-T": pytest.approx(1 / 1000),
        "MSE-T": pytest.approx((0.0625 + 0.0625 + 0.25) / 2),
        "MAD-T": pytest.approx(1 / 2),
    }
    assert scores["SAD-FG"] == pytest.approx(0.25 / 1000)
    assert scores["SAD-BG"] == pytest.approx(0.25 / 1000)


def test_a_trimap_without_128_is_divided_by_what_is_neither_0_nor_255():
    trimap = np.array([[0, 127], [129, 130]], np.uint8)
    assert score_matte(PREDICTED, TRUTH, trimap)["MAD-T"] == pytest.approx(1 / 3)


def test_a_trimap_without_a_band_divides_by_one():
    trimap = np.array([[0, 0], [255, 255]], np.uint8)
    assert score_matte(PREDICTED, TRUTH, trimap)["MAD-T"] == 0.5
    assert score_matte(PREDICTED, np.float64(trimap > 0), trimap)["MAD-T"] == 0


def test_a_wisp_that_is_not_connected_is_charged_from_its_level():
    shared = np.array([[1.0, 0.9, 0.35, 0.6]])
    # At 0.4 the third leaves, and the last, which hung on by it; the second leaves at 1.
    assert connected_level(shared).tolist() == [[1, np.float32(0.9), *[np.float32(0.3)] * 2]]


def draw(kind, draws, shape):
    """A matte uint8 `[H,W]`."""
    if kind == "noise":
        return draws.integers(0, 256, shape, np.uint8)
    if kind == "ties":  # single pixels, of values that are thresholds, on empty ground
        values = draws.choice(np.array([26, 51, 77, 102, 153, 204, 255], np.uint8), shape)
        return np.where(draws.random(shape) < 0.2, values, 0).astype(np.uint8)
    if kind == "blobs":
        return np.uint8(255 * np.clip(gaussian_filter(draws.normal(0.5, 8, shape), 4), 0, 1))
    return np.full(shape, {"empty": 0, "full": 255}[kind], np.uint8)


def slow_scores(predicted, truth, trimap):
    """P3M's definitions, a loop or a library's function each."""
    difference = np.abs(predicted - truth)
    decided = predicted.copy()
    decided[trimap == 255], decided[trimap == 0] = 1, 0
    in_band = np.abs(decided - truth)
    unknown = sum(value == 128 for value in trimap.flat)
    return {
        "SAD": difference.sum() / 1000,
        "MSE": (difference**2).mean(),
        "MAD": difference.mean(),
        "SAD-T": in_band.sum() / 1000,
        "MSE-T": (in_band**2).sum() / unknown,
        "MAD-T": in_band.sum() / unknown,
        "SAD-FG": difference[trimap == 255].sum() / 1000,
        "SAD-BG": difference[trimap == 0].sum() / 1000,
        "GRAD": slow_gradient_error(predicted, truth),
        "CONN": slow_connectivity_error(predicted, truth),
    }


def slow_gradient_error(predicted, truth):
    def magnitude(alpha):
        return np.hypot(*(gaussian_filter(alpha, 1.4, order=order) for order in ((0, 1), (1, 0))))

    return ((magnitude(predicted) - magnitude(truth)) ** 2).sum() / 10


def slow_connectivity_error(predicted, truth):
    level = np.full(truth.shape, -1, np.float32)
    thresholds = np.arange(0, 1.1, 0.1)
    for i in range(1, len(thresholds)):
        labels = label((predicted >= thresholds[i]) & (truth >= thresholds[i]), connectivity=1)
        if labels.any():
            largest = 1 + np.argmax(np.bincount(labels.flat)[1:])
            level[(level == -1) & (labels != largest)] = thresholds[i - 1]
    level[level == -1] = 1
    excesses = [alpha - level for alpha in (predicted, truth)]
    phi = [1 - np.where(excess >= 0.15, excess, 0) for excess in excesses]
    return np.abs(phi[0] - phi[1]).sum() / 1000


KINDS = ("noise", "ties", "blobs", "empty", "full")


@pytest.mark.parametrize("kinds", list(itertools.product(KINDS, KINDS)), ids="-".join)
def test_every_metric_is_that_of_a_slow_reference(kinds):
    draws = np.random.default_rng(KINDS.index(kinds[0]) * 8 + KINDS.index(kinds[1]))
    for shape in ((1, 1), (2, 3), (7, 5), (64, 48), (90, 101)):
        predicted, truth = (draw(kind, draws, shape) for kind in kinds)
        trimap = draws.choice(np.array([0, 128, 255], np.uint8), shape)
        trimap.flat[0] = 128
        expected = slow_scores(predicted / 255.0, truth / 255.0, trimap)
        scores = score_matte(predicted, truth, trimap)
        assert scores.keys() == expected.keys() | {"mIoU"}
        for name, value in expected.items():
            assert scores[name] == pytest.approx(value, rel=ORDER, abs=1e-15), (name, shape)


def test_a_matte_close_to_its_truth_scores_as_the_slow_reference():
    draws = np.random.default_rng(5)
    truth = draw("blobs", draws, (120, 90))
    for noise in (2, 20, 80):
        predicted = np.uint8(np.clip(truth + draws.normal(0, noise, truth.shape), 0, 255))
        trimap = np.where((truth > 9) & (truth < 246), 128, np.where(truth > 9, 255, 0)).astype(np.uint8)
        expected = slow_scores(predicted / 255.0, truth / 255.0, trimap)
        scores = score_matte(predicted, truth, trimap)
        assert {name: scores[name] for name in expected} == pytest.approx(expected, rel=ORDER)


def test_8_bits_score_as_k_255ths_in_float64():
    draws = np.random.default_rng(6)
    predicted, truth = (draw(kind, draws, (40, 30)) for kind in ("noise", "blobs"))
    trimap = draws.choice(np.array([0, 128, 255], np.uint8), (40, 30))
    assert score_matte(predicted, truth, trimap) == score_matte(predicted / 255.0, truth / 255.0, trimap)
    single = [np.float32(alpha / 255.0) for alpha in (predicted, truth)]
    mixed = score_matte(single[0], truth, trimap)
    # float32 has 24 bits; 77/255 and the like fall on the other side of CONN's thresholds.
    assert mixed["SAD"] == pytest.approx(score_matte(predicted, truth, trimap)["SAD"], rel=1e-6)
    assert gradient_error(*single) == pytest.approx(gradient_error(predicted, truth), rel=1e-5)


@pytest.mark.parametrize("density", [0.02, 0.2, 0.5, 0.8])
def test_of_equal_components_the_first_in_reading_order_is_taken(density):
    draws = np.random.default_rng(7)
    for _ in range(100):
        mask = draws.random(draws.integers(2, 24, 2)) < density
        mask.flat[draws.integers(mask.size)] = True
        labels = label(mask, connectivity=1)
        expected = labels == 1 + np.argmax(np.bincount(labels.flat)[1:])
        np.testing.assert_array_equal(largest_component(mask), expected)


def test_a_perfect_matte_scores_perfectly():
    scores = score_matte(TRUTH, TRUTH, TRIMAP)
    assert scores.pop("mIoU") == 1
    assert set(scores.values()) == {0}


def test_without_a_trimap_the_metrics_by_region_are_left_out():
    assert set(score_matte(PREDICTED, TRUTH)) == {"SAD", "MSE", "MAD", "GRAD", "CONN", "mIoU"}


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
        (PREDICTED, TRUTH.astype(np.uint16), None, "the truth must be uint8 or floating point, not uint16"),
    ],
)
def test_impossible_input_is_refused(predicted, truth, trimap, message):
    with pytest.raises(ValueError, match=message):
        score_matte(predicted, truth, trimap)
