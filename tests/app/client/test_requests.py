"""What the client sends: photos from wherever they are, options only where they were given."""

from __future__ import annotations

import io
from functools import partial

import pytest

from app.client.requests import CutoutOptions, cutout_call, matte_call


def test_missing_photo_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        matte_call(tmp_path / "none.jpg", {})


def test_nothing_is_sent_of_what_was_left_to_the_service():
    assert matte_call(b"photo", {"quality": None}).fields == {}
    assert cutout_call(b"photo", {}).fields == {}
    assert cutout_call(b"photo", CutoutOptions(blur=None, background=None)).fields == {}


def test_options_are_sent_in_the_words_of_the_service():
    options = CutoutOptions(
        format="webp",
        background="#fff",
        blur=5,
        crop=True,
        margin="10% 20px",
        size=2.5,
        shadow=0,
        quality="high",
        color="srgb",
        subject="main",
    )
    call = cutout_call(b"photo", options)
    assert (call.method, call.path) == ("POST", "/v1/cutout")
    assert call.fields == {
        "format": "webp",
        "background": "#fff",
        "blur": "5",
        "crop": "true",
        "margin": "10% 20px",
        "size": "2.5",
        "shadow": "0",
        "quality": "high",
        "color": "srgb",
        "subject": "main",
    }
    assert call.files == {"image": b"photo"}


def test_background_that_is_no_string_is_a_picture(tmp_path):
    (tmp_path / "beach.jpg").write_bytes(b"beach")
    for background in (b"beach", tmp_path / "beach.jpg", io.BytesIO(b"beach")):
        call = cutout_call(b"photo", CutoutOptions(background=background))
        assert call.files == {"image": b"photo", "background": b"beach"}
        assert "background" not in call.fields


def test_option_that_there_is_not_is_refused_as_a_keyword_is():
    for call in (partial(matte_call, b"photo", {"blur": 5}), partial(cutout_call, b"photo", {"colour": 1})):
        with pytest.raises(TypeError, match=r"there is no option '(blur|colour)'; there is quality, model"):
            call()


def test_name_of_the_photo_is_not_sent(tmp_path):
    (tmp_path / "jane-doe.jpg").write_bytes(b"photo")
    assert matte_call(tmp_path / "jane-doe.jpg", {"quality": "high"}).parts == {
        "image": ("image", b"photo", "application/octet-stream")
    }
