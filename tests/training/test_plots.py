"""Curves and sheets are pictures of the right things."""

import math

import cv2
import numpy as np
import pytest

from training.pictures import GREEN
from training.plots import plot_history, validation_sheet, write_png


def test_curves_are_drawn_also_of_a_single_validation(tmp_path):
    row = {"step": 5.0, "input_size": 32.0, "loss": 1.0, "learning_rate": 0.1, "MAD": 0.4, "mIoU": 0.3}
    for rows in ([row], [row, {**row, "step": 9.0, "input_size": 64.0, "MAD": 0.2}]):
        plot_history(rows, tmp_path / "curves.png")
        picture = cv2.imread(str(tmp_path / "curves.png"))
        assert picture.shape[0] > 500
        assert picture.std() > 10


@pytest.mark.parametrize("mads", [(math.nan, 0.4, 0.3), (math.nan, math.nan, math.nan)])
def test_curves_have_a_gap_where_a_validation_was_not_finite(tmp_path, mads):
    rows = [
        {"step": float(i), "input_size": 32.0, "loss": 1.0, "learning_rate": 0.1, "MAD": mad, "mIoU": 1 - mad}
        for i, mad in enumerate(mads)
    ]
    plot_history(rows, tmp_path / "curves.png")
    assert cv2.imread(str(tmp_path / "curves.png")).std() > 10


def test_a_sheet_shows_photo_truth_and_matte_of_each_picture(tmp_path):
    images = [np.full((8, 8, 3), shade, np.uint8) for shade in (10, 20, 30)]
    truths = [np.zeros((8, 8), np.float32)] * 3
    mattes = [np.full((8, 8), value, np.float32) for value in (0, 0.5, 1)]
    sheet = validation_sheet(images, truths, mattes)
    # Two columns of pictures, four panels each; the fourth picture's place stays black.
    assert sheet.shape == (16, 64, 3)
    np.testing.assert_array_equal(sheet[0, ::8][:4], [[10] * 3, GREEN, GREEN, [0] * 3])
    np.testing.assert_array_equal(sheet[8, ::8][:4], [[20] * 3, GREEN, [10, 98, 42], [128] * 3])
    np.testing.assert_array_equal(sheet[0, ::8][4:], [[30] * 3, GREEN, [30] * 3, [255] * 3])
    assert not sheet[8:, 32:].any()
    write_png(tmp_path / "sheet.png", sheet)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "sheet.png"))[:, :, ::-1], sheet)
