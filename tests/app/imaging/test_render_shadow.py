from __future__ import annotations

import numpy as np
import pytest

from app.imaging.render import cast_shadow


def block(height: int = 600, width: int = 800):
    alpha = np.zeros((height, width), np.uint8)
    alpha[200:400, 300:500] = 255
    return alpha


def test_shadow_falls_below_what_casts_it() -> None:
    shadow = cast_shadow(block(), 100)
    assert shadow.shape == (600, 800)
    assert shadow[410, 400] > shadow[189, 400] > 0
    assert abs(int(shadow[300, 290]) - int(shadow[300, 509])) <= 1


def test_shadow_is_soft_and_ends() -> None:
    column = cast_shadow(block(), 100)[:, 400].astype(int)
    assert np.abs(np.diff(column)).max() < 12
    assert column[0] == column[-1] == 0
    assert column.max() == 255


def test_strength_is_the_opacity_of_its_darkest_part() -> None:
    assert cast_shadow(block(), 40).max() == round(0.4 * 255)
    assert not cast_shadow(block(), 0).any()


def test_person_cut_off_by_the_frame_casts_it_to_the_frame() -> None:
    alpha = block()
    alpha[400:, 300:500] = 255
    shadow = cast_shadow(alpha, 100)
    assert shadow[-1, 400] == 255
    assert shadow[-1, 290] == pytest.approx(shadow[450, 290], abs=1)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (7, 4)])
def test_shadow_takes_any_size(size) -> None:
    shadow = cast_shadow(np.full(size, 255, np.uint8), 50)
    assert (shadow == round(0.5 * 255)).all()
