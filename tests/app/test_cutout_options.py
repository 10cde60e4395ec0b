"""What decides about a result, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.cutout_options import Wish, read_background

WISH = Wish(output="cutout")


@pytest.mark.parametrize(
    "change",
    [
        {"output": "matte"},
        {"quality": "high"},
        {"format": "webp"},
        {"background": "red"},
        {"background": b"red"},
        {"blur": 5},
        {"crop": True},
        {"margin": "5%"},
        {"size": "1"},
        {"shadow": 5},
        {"color": "srgb"},
    ],
)
def test_every_option_makes_another_result(change):
    assert replace(WISH, **change).key("m") != WISH.key("m")


def test_model_makes_another_result():
    assert WISH.key("portrait@3") != WISH.key("portrait@4")
    assert WISH.key("portrait@3") == replace(WISH).key("portrait@3")


def test_pictures_to_lay_under_differ_by_their_bytes():
    beach, wood = (replace(WISH, background=data) for data in (b"beach", b"wood"))
    assert beach.key("m") != wood.key("m")
    assert len(replace(WISH, background=bytes(10**6)).key("m")) < 1_000


def test_background_with_a_dot_or_slash_is_a_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("beach.jpg", "red"):
        (tmp_path / name).write_bytes(b"picture")
    assert read_background("beach.jpg") == b"picture"
    assert read_background("./red") == b"picture"
    assert read_background("red") == "red"
    assert read_background("#ff0000") == "#ff0000"
    with pytest.raises(FileNotFoundError):
        read_background("none.jpg")
