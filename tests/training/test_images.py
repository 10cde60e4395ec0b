"""Mattes of one or several channels, and errors that name the file."""

import cv2
import numpy as np
import pytest

from training.images import ImageError, read_alpha, read_image, read_trimap


def write(path, pixels):
    assert cv2.imwrite(str(path), pixels)
    return path


def test_an_image_is_rgb(tmp_path):
    blue_green_red = np.zeros((2, 3, 3), np.uint8)
    blue_green_red[:] = (30, 20, 10)
    image = read_image(write(tmp_path / "x.png", blue_green_red))
    assert image.shape == (2, 3, 3)
    assert image[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_first_channel_is_the_matte(tmp_path, channels):
    pixels = np.zeros((2, 2, channels), np.uint8)
    pixels[:, :, 2 if channels > 1 else 0] = 51  # red comes third in OpenCV's order
    alpha = read_alpha(write(tmp_path / "x.png", pixels))
    assert alpha.dtype == np.float32
    np.testing.assert_allclose(alpha, np.full((2, 2), 0.2), rtol=1e-6)


def test_a_trimap_keeps_its_values(tmp_path):
    trimap = np.array([[0, 128, 255]], np.uint8)
    np.testing.assert_array_equal(read_trimap(write(tmp_path / "x.png", trimap)), trimap)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(ImageError, match=r"none\.png: missing or not a readable image"):
        read_alpha(tmp_path / "none.png")
    deep = write(tmp_path / "deep.png", np.zeros((2, 2), np.uint16))
    with pytest.raises(ImageError, match="8 bits per channel expected, not uint16"):
        read_alpha(deep)
