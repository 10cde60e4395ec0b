"""Curves and sheets are pictures of the right things."""

import cv2
import numpy as np

from training.data.images import GREEN
from training.engine.callbacks import write_png
from training.engine.validation import validation_sheet


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
