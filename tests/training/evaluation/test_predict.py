"""P3M-10k's RESIZE: half of each side, a multiple of 32, at most 1600, and back."""

import numpy as np
import pytest

from training.evaluation.predict import resize_predictor, resize_side


@pytest.mark.parametrize(
    ("side", "expected"),
    [(1349, 672), (1321, 640), (128, 64), (127, 32), (64, 32), (40, 32), (3, 32), (3200, 1600), (9000, 1600)],
)
def test_sides_are_those_of_p3ms_test(side, expected):
    assert resize_side(side) == expected


def test_a_picture_is_seen_at_half_its_sides_and_its_matte_is_as_large_as_it_is():
    seen = []

    def brightness(images):
        seen.append(images.shape)
        return images[..., 0].astype(np.float32) / 255

    image = np.zeros((200, 330, 3), np.uint8)
    image[:, 165:] = 255
    small = np.full((20, 20, 3), 100, np.uint8)
    mattes = resize_predictor(brightness)([image, small])
    assert seen == [(1, 96, 160, 3), (1, 32, 32, 3)]
    assert [matte.alpha.shape for matte in mattes] == [(200, 330), (20, 20)]
    assert mattes[0].alpha[:, :160].max() == 0
    assert mattes[0].alpha[:, 170:].min() == 255
    assert (mattes[1].alpha == 100).all()
    assert [matte.foreground for matte in mattes] == [True, False]
