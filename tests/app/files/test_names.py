from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.files.names import FOREIGN, FORMATS, NAME_MAX, PHOTOS, address, fitting, shown, suffix_of


@pytest.mark.parametrize(
    "name",
    [
        "a.jpg",
        "a.JPEG",
        "a.jpe",
        "a.jfif",
        "a.JFIF",
        "a.png",
        "a.webp",
        "a.HEIC",
        "a.heif",
        "a.avif",
        "a.tif",
        "a.TIFF",
        "a.bmp",
        "a.gif",
        "a.b.jpg",
    ],
)
def test_all_names_of_what_is_read_are_photos(name):
    assert suffix_of(name) in PHOTOS


@pytest.mark.parametrize("name", ["a.nef", "a.psd", "a", "jpg", ".jpg", "a.jpg.part"])
def test_other_names_are_none(name):
    assert suffix_of(name) not in PHOTOS


def test_no_suffix_is_both_written_and_foreign():
    assert not FOREIGN & (FORMATS.keys() | PHOTOS)


@pytest.mark.parametrize("letter", ["x", "é", "人", "😀", "\udce9"])
@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg-2.png"])
def test_name_is_cut_to_what_a_file_system_takes_and_no_shorter(letter, suffix):
    for count in range(1, 300):
        name = fitting(letter * count, suffix)
        length = len(os.fsencode(name))
        assert length <= NAME_MAX
        if len(os.fsencode(letter)) * count + len(suffix) <= NAME_MAX:
            assert name == letter * count + suffix
        else:
            assert name.endswith(suffix)
            assert length > NAME_MAX - len(os.fsencode(letter))


def test_two_long_names_stay_two():
    assert fitting("x" * 300 + "1", ".png") != fitting("x" * 300 + "2", ".png")
    assert fitting("x" * 300 + "1", ".png") == fitting("x" * 300 + "1", ".png")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a b[1] é人.jpg", "a b[1] é人.jpg"),
        ("at 1.23\u202fPM.png", "at 1.23\u202fPM.png"),
        ("a\nb.jpg", r"a\nb.jpg"),
        ("a\x1b[31mb.jpg", r"a\x1b[31mb.jpg"),
        ("a\udce9.jpg", r"a\udce9.jpg"),
    ],
)
def test_name_is_shown_on_one_line_and_steers_no_terminal(name, said):
    assert shown(Path(name)) == said


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("https://example.com/a.jpg", "https://example.com/a.jpg"),
        ("HTTP://x/y", "HTTP://x/y"),
        ("s3://bucket/key", "s3://bucket/key"),
        ("file:///a/b.jpg", "file://a/b.jpg"),
        ("a/b.jpg", None),
        ("/a/b.jpg", None),
        ("a:b.jpg", None),
        ("C:/a.jpg", None),
        ("https:", None),
    ],
)
def test_address_where_a_path_belongs_is_known(typed, url):
    assert address(Path(typed)) == url
