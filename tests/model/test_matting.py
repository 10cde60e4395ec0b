"""The recipe from photo to matte, with a stand-in for the network."""

import numpy as np
import pytest

from model.contract import GEOMETRIES
from model.matting import Quality, finish, views

SIZE = 64


def photo(height=300, width=500):
    """A bright disc left of the middle, before a dark ground."""
    y, x = np.mgrid[0:height, 0:width]
    inside = np.hypot(x - width * 0.4, y - height / 2) < 0.3 * height
    return np.where(inside[:, :, None], 230, 20).astype(np.uint8).repeat(3, axis=2), inside


def brightness(squares):
    """A network that takes what is bright for foreground, and is unsure."""
    return [np.clip(square.mean(axis=2) / 255, 0.05, 0.9).astype(np.float32) for square in squares]


@pytest.mark.parametrize("quality", Quality)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_matte_lies_on_the_photo(geometry, quality):
    image, inside = photo()
    seen = views(image, SIZE, geometry, quality)
    matte = finish(image, seen, brightness(seen), geometry)
    assert matte.alpha.shape == inside.shape
    assert matte.alpha.dtype == np.uint8
    assert matte.foreground
    assert 0.5 < matte.confidence < 1
    assert ((matte.alpha > 127) == inside).mean() > 0.995


def test_high_quality_is_the_mean_with_the_mirror_image():
    image, _ = photo()
    whole, mirrored = views(image, SIZE, "stretch", Quality.HIGH)
    np.testing.assert_array_equal(mirrored, whole[:, ::-1])
    right = np.zeros((SIZE, SIZE), np.float32)
    right[:, SIZE // 2 :] = 1
    matte = finish(image, [whole, mirrored], [right, right], "stretch", refined=False)
    assert set(np.unique(matte.alpha)) <= {127, 128}


def test_an_empty_answer_is_nobody():
    image, _ = photo()
    seen = views(image, SIZE, "limited")
    matte = finish(image, seen, [np.zeros((SIZE, SIZE), np.float32)], "limited")
    assert not matte.foreground
    assert matte.confidence == 1
    assert matte.alpha.max() == 0


def test_bars_are_neither_foreground_nor_doubt():
    """What the network says of the bars beside the photo is not asked."""
    image, _ = photo(100, 400)
    alpha = np.full((SIZE, SIZE), 0.5, np.float32)
    alpha[SIZE // 2 - 8 : SIZE // 2 + 8] = 0
    matte = finish(image, views(image, SIZE, "letterbox"), [alpha], "letterbox")
    assert not matte.foreground
    assert matte.confidence == 1
