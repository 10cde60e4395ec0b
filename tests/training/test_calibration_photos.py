"""A few dozen photos of a folder, as the network sees them."""

import cv2
import numpy as np
import pytest

from model.transforms import to_model_input
from training.calibration_photos import PHOTOS, PhotosError, photos_in, squares

SIZE = 64


def test_photos_are_seen_as_the_service_shows_them(tmp_path):
    coarse = np.random.default_rng(4).integers(0, 256, (9, 9, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "0.png"), cv2.resize(coarse, (90, 60)))
    photo = cv2.imread(str(tmp_path / "0.png"))[:, :, ::-1]
    (batch,) = squares(photos_in(tmp_path), SIZE, "letterbox")
    np.testing.assert_array_equal(batch, [to_model_input(photo, SIZE, "letterbox")])


def test_photos_are_spread_over_the_folder(tmp_path):
    (tmp_path / "notes.txt").touch()
    for i in range(3 * PHOTOS):
        (tmp_path / f"{i:03d}.JPG").touch()
    found = photos_in(tmp_path)
    assert len(set(found)) == PHOTOS
    assert (found[0].name, found[-1].name) == ("000.JPG", f"{3 * PHOTOS - 1:03d}.JPG")


def test_a_folder_without_photos_is_named(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(PhotosError, match=r"holds no photo \(\.jpeg, \.jpg, \.png, \.webp\); give a folder"):
        photos_in(tmp_path)
    with pytest.raises(PhotosError, match="none: no such folder of photos"):
        photos_in(tmp_path / "none")
