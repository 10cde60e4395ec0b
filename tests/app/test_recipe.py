from __future__ import annotations

from app.recipe import prepare
from model.matting import Quality
from tests.portraits import jpeg, portrait


def test_prepared_photo_is_upright_and_in_its_square() -> None:
    data = jpeg(portrait(60, 80), orientation=6)
    prepared = prepare(data, 32, "limited", Quality.STANDARD, max_pixels=10_000)
    assert prepared.image.shape == (80, 60, 3)
    assert [view.shape for view in prepared.views] == [(32, 32, 3)]
    assert len(prepare(data, 32, "limited", Quality.HIGH, max_pixels=10_000).views) == 2
