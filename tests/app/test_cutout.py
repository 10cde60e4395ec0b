from __future__ import annotations

import numpy as np

from app import cutout
from tests.portraits import portrait


def test_cutout_is_the_photo_with_the_matte_as_alpha() -> None:
    image = portrait()
    image.setflags(write=False)
    alpha = (np.arange(60 * 80) % 256).astype(np.uint8).reshape(60, 80)
    rgba = cutout.compose_rgba(image, alpha)
    assert np.array_equal(rgba[..., :3], image)
    assert np.array_equal(rgba[..., 3], alpha)
