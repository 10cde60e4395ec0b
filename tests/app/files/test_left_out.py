from __future__ import annotations

from pathlib import Path

import pytest

from app.files.left_out import READ, foreign, nothing, sentence
from app.files.results import MADE
from app.files.walk import DEAD_LINK


def these(**kinds):
    return {Path(f"{kind}{number}"): f".{kind}" for kind, count in kinds.items() for number in range(count)}


def test_files_are_counted_by_kind_the_most_frequent_first():
    assert sentence(these(psd=1, nef=2, jxl=1)) == f"4 files left out: 2 .nef, 1 .psd, 1 .jxl; {READ}"
    assert sentence(these(svg=1)) == f"1 file left out: 1 .svg; {READ}"


def test_many_kinds_are_summed_up():
    said = sentence(these(**{f"k{number}": 1 for number in range(12)}))
    assert said.startswith("12 files left out: 1 .k0, ")
    assert said.endswith(f"1 .k7, 4 of other kinds; {READ}")


def test_few_are_called_by_name_where_that_is_wanted():
    assert (
        sentence(these(svg=1, psd=1), named=True) == f"2 files left out: 1 .svg, 1 .psd (svg0, psd0); {READ}"
    )
    assert "svg0" not in sentence(these(svg=6), named=True)


def test_where_nothing_is_found_it_is_said_what_was_there_and_what_is_read():
    assert READ == "only JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP and GIF are read"
    assert nothing(these(nef=2)) == f"no photo found; 2 files left out: 2 .nef; {READ}"
    assert nothing({}) == f"no photo found; {READ}"


def test_what_is_read_is_said_only_where_a_file_is_of_another_kind():
    assert READ in sentence({Path("notes"): foreign("notes")})
    assert READ not in sentence({Path("a.png"): MADE, Path("b.png"): DEAD_LINK})


def test_suffix_that_would_steer_a_terminal_does_not():
    assert "\x1b" not in sentence({Path("a"): foreign("a.\x1b[31m")})


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a.jpg", ""),
        ("A.JFIF", ""),
        ("a.NEF", ".nef"),
        ("IMG_0001", "without a suffix"),
        ("a.tar.gz", ".gz"),
    ],
)
def test_kind_is_the_suffix(name, why):
    assert foreign(name) == why
