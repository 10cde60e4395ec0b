"""What is typed of a photo's options: what decides about a result, and what a background means."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from app.cli.photo_options import PhotoOptions
from app.options import CutoutOptions

CHANGES = {
    "quality": "high",
    "model": "a@2",
    "subject": "main",
    "format": "webp",
    "background": "red",
    "blur": "5",
    "crop": True,
    "margin": "5%",
    "size": "1",
    "shadow": "5",
    "color": "srgb",
}


def read(**typed: str | bool) -> PhotoOptions:
    return PhotoOptions.read("cutout", typed)


def test_every_option_makes_another_result() -> None:
    assert CHANGES.keys() == CutoutOptions.model_fields.keys()
    keys = {read(**{name: value}).key("m") for name, value in CHANGES.items()}
    assert len(keys | {read().key("m"), PhotoOptions.read("matte", {}).key("m")}) == len(CHANGES) + 2


def test_model_makes_another_result_and_another_spelling_does_not() -> None:
    assert read().key("portrait@3") != read().key("portrait@4")
    assert read(size="full", format="PNG").key("portrait@3") == read().key("portrait@3")


def test_pictures_to_lay_under_differ_by_their_bytes(tmp_path: Path) -> None:
    keys = set()
    for name, data in (("beach.jpg", b"beach"), ("wood.jpg", b"wood"), ("long.jpg", bytes(10**6))):
        (tmp_path / name).write_bytes(data)
        keys.add(read(background=str(tmp_path / name)).key("m"))
    assert len(keys) == 3
    assert all(len(key) < 1_000 for key in keys)


def test_background_with_a_dot_or_slash_is_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("beach.jpg", "red"):
        (tmp_path / name).write_bytes(b"picture")
    for typed, given in {
        "beach.jpg": b"picture",
        "./red": b"picture",
        "red": "red",
        "#ff0000": "#ff0000",
        "rgb(30 144 255 / .5)": "rgb(30 144 255 / .5)",
    }.items():
        assert read(background=typed).given == {"background": given}


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ({"margin": "51%"}, "`margin` is 1, 2 or 4 values"),
        ({"blur": "1_0"}, "`blur` is a whole number, 1 to 100; '1_0' was sent"),
        ({"background": "red", "blur": "5"}, "Send one background"),
    ],
)
def test_what_means_nothing_is_said_before_any_photo_is_read(typed: dict[str, str], told: str) -> None:
    with pytest.raises(typer.BadParameter, match=told):
        read(**typed)
