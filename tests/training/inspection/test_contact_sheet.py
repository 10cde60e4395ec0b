"""Pairs of every split are on one picture, whatever their sizes."""

import cv2
import numpy as np
import pytest

from tests.training.p3m_folders import write_data_set
from training.inspection.contact_sheet import SHEET_WIDTH, contact_sheet, write_contact_sheet

MASK = "train/mask/p_00000000.png"


@pytest.fixture
def root(tmp_path):
    return write_data_set(tmp_path / "data", train=4, validation=2)


def rewrite(path, pixels):
    assert cv2.imwrite(str(path), pixels)


def on_green_pixels(sheet):
    return int((sheet == (0, 177, 64)).all(axis=2).sum())


def test_the_sheet_shows_each_pair_and_leaves_out_what_cannot_be_read(root):
    whole = contact_sheet(root, count=6)
    assert whole.dtype == np.uint8
    assert whole.shape[1:] == (SHEET_WIDTH, 3)
    (root / MASK).write_text("not a picture")
    lacking = contact_sheet(root, count=6)
    assert lacking.shape == whole.shape
    assert on_green_pixels(lacking) < on_green_pixels(whole)


def test_the_sheet_has_a_mismatched_pair_wide_photos_and_long_names(root):
    rewrite(root / MASK, np.full((50, 10), 255, np.uint8))
    wide = root / "train" / "blurred_image" / f"{'ü' * 80}.jpg"
    rewrite(wide, np.zeros((10, 500, 3), np.uint8))
    rewrite(root / "train" / "mask" / f"{wide.stem}.png", np.zeros((10, 500), np.uint8))
    before = contact_sheet(root, count=3)
    after = contact_sheet(root, count=15)
    assert after.shape[1] == SHEET_WIDTH
    assert on_green_pixels(after) > on_green_pixels(before)


def test_the_sheet_is_written_as_rgb_png(root, tmp_path):
    write_contact_sheet(root, tmp_path / "sheet.png", count=3)
    read = cv2.imread(str(tmp_path / "sheet.png"))[:, :, ::-1]
    np.testing.assert_array_equal(read, contact_sheet(root, count=3))
