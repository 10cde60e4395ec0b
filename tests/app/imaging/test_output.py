from __future__ import annotations

import pytest

from app.imaging.output import CUTOUT, MATTE, Channels, Output
from app.options import Format
from app.values import Ground


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [
        (Format.PNG, "image/png"),
        (Format.WEBP, "image/webp"),
        (Format.AVIF, "image/avif"),
        (Format.JPG, "image/jpeg"),
        (Format.ZIP, "application/zip"),
    ],
)
def test_format_has_its_media_type(kind: Format, media_type: str) -> None:
    assert kind.media_type == media_type


def test_matte_is_the_alpha_and_the_cutout_the_person() -> None:
    assert Output() == CUTOUT
    assert Output(channels=Channels.ALPHA) == MATTE
    assert MATTE.format is Format.PNG


def test_cutout_takes_more_memory_than_a_matte() -> None:
    assert MATTE.bytes_per_pixel == 3
    assert CUTOUT.bytes_per_pixel > MATTE.bytes_per_pixel


def test_a_clients_picture_is_not_in_what_is_logged_of_an_output() -> None:
    assert "secret" not in repr(Output(background=b"secret"))
    assert Output(background=Ground((1, 2, 3))) != Output(background=Ground((1, 2, 3), 254))
