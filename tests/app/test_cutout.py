from __future__ import annotations

import numpy as np

from app import cutout
from tests.portraits import portrait


def test_every_step_of_alpha_is_kept() -> None:
    steps = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(cutout.to_uint8((steps / 255).astype(np.float32)), steps)


def test_alpha_is_rounded_and_not_stretched() -> None:
    alpha = np.array([[0.2, 0.4016]], np.float32)
    assert cutout.to_uint8(alpha).tolist() == [[51, 102]]


def test_cutout_is_the_photo_with_the_matte_as_alpha() -> None:
    image = portrait()
    image.setflags(write=False)
    alpha = np.linspace(0, 1, 60 * 80, dtype=np.float32).reshape(60, 80)
    rgba = cutout.compose_rgba(image, alpha)
    assert np.array_equal(rgba[..., :3], image)
    assert np.array_equal(rgba[..., 3], cutout.to_uint8(alpha))
