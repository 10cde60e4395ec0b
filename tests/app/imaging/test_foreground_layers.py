from __future__ import annotations

import cv2
import numpy as np
import pytest

from app.imaging.foreground import mean_around, reduced


def window(plane):
    return cv2.blur(plane, (5, 5))


def test_mean_is_the_layers_colour_where_both_layers_lie_in_the_window() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    image[:, :10], image[:, 10:] = (200, 100, 50), (0, 255, 0)
    share = np.zeros((20, 20), np.uint8)
    share[:, :10] = 255
    assert np.abs(mean_around(image, share, window) - (200, 100, 50)).max() < 0.5


def test_mean_goes_on_where_the_layer_is_out_of_reach() -> None:
    image = np.full((30, 30, 3), 77, np.uint8)
    image[:5] = (10, 20, 30)
    share = np.zeros((30, 30), np.uint8)
    share[:5] = 255
    assert np.abs(mean_around(image, share, window)[-1] - (10, 20, 30)).max() < 0.5


def test_half_a_share_weighs_a_sixteenth() -> None:
    image = np.array([[[255] * 3, [0] * 3]], np.uint8)
    share = np.array([[128, 255]], np.uint8)
    mean = mean_around(image, share, lambda plane: np.full_like(plane, plane.sum()))
    assert mean[0, 0, 0] == pytest.approx(255 / 17, rel=0.02)  # 128 of 255 is not quite a half


def test_layer_that_is_nowhere_has_no_colour() -> None:
    assert not mean_around(np.full((4, 4, 3), 99, np.uint8), np.zeros((4, 4), np.uint8), window).any()


def test_reduced_takes_means_of_whole_cells_and_leaves_the_rest_out() -> None:
    pixels = np.repeat(np.array([[10, 30, 50, 70, 255]], np.uint8), 3, axis=0)
    assert reduced(pixels, 2).tolist() == [[20, 60]]
