"""How colours, numbers and truth are written, and what means nothing."""

from __future__ import annotations

import re

import pytest
from PIL import ImageColor

from app.values import WHITE, Ground, boolean, colour, on_white, whole


@pytest.mark.parametrize(
    ("text", "ground"),
    [
        ("f00", Ground((255, 0, 0))),
        ("#0f08", Ground((0, 255, 0), 0x88)),
        ("81d4fa", Ground((0x81, 0xD4, 0xFA))),
        ("#81D4FA77", Ground((0x81, 0xD4, 0xFA), 0x77)),
        ("green", Ground((0, 128, 0))),
        ("RebeccaPurple", Ground((102, 51, 153))),
        ("transparent", Ground((0, 0, 0), 0)),
        ("rgb(1,2,3)", Ground((1, 2, 3))),
        ("RGB( 1 , 2 , 3 )", Ground((1, 2, 3))),
        ("rgb(100%, 0%, 50%)", Ground((255, 0, 128))),
        ("rgb(30 144 255 / 50%)", Ground((30, 144, 255), 128)),
        ("rgba(255, 0, 0, 0.5)", Ground((255, 0, 0), 128)),
        ("rgba(255,0,0,.25)", Ground((255, 0, 0), 64)),
        ("rgba(255 0 0 / 1)", Ground((255, 0, 0), 255)),
    ],
)
def test_colour_is_a_css_name_or_a_hex_value(text, ground) -> None:
    assert colour(text) == ground


@pytest.mark.parametrize(
    "text",
    [
        "rgb(300,0,0)",
        "rgb(256,0,0)",
        "rgb(101%,0,0)",
        "rgb(-1,0,0)",
        "rgb(1,2)",
        "rgb(1,2,3,4,5)",
        "rgb(1,,3)",
        "rgb()",
        "rgb(1,2,3",
        "rgb(1,2,nan)",
        "rgb(1e2,0,0)",
        "rgba(1,2,3,128)",
        "rgba(1,2,3,101%)",
        "rgb((1,2,3))",
        "rgb(\u0661,2,3)",
        "hsl(0,1000%,9%)",
        "##fff",
        "fffff",
        "\u0661\u0662\u0663",
        "#",
        "none",
    ],
)
def test_other_colours_are_refused(text) -> None:
    """Some of them Pillow reads, and some to levels that are no byte."""
    with pytest.raises(ValueError, match=re.escape(text)):
        colour(text)


def test_every_named_colour_is_three_bytes() -> None:
    for name in ImageColor.colormap:
        assert all(0 <= level <= 255 for level in colour(name).colour)


def test_ground_that_cannot_be_seen_is_white() -> None:
    assert on_white(Ground((9, 8, 7), 0)) == WHITE


def test_truth_is_written_in_many_ways() -> None:
    assert all(map(boolean, ("true", "True", "1", "on", "ON", "yes", "Yes")))
    assert not any(map(boolean, ("false", "FALSE", "0", "off", "Off", "no")))


def test_whole_numbers_have_their_limits() -> None:
    read = whole(3, 5)
    assert [read("3"), read("05")] == [3, 5]
    for text in ("2", "6", "-4", "4.0", "0004"):
        with pytest.raises(ValueError, match=re.escape(text)):
            read(text)
