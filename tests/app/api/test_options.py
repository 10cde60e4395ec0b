from __future__ import annotations

import re

import pytest
from PIL import ImageColor

from app.api.options import boolean, colour, on_white, quality_of, read_output, whole
from app.errors import (
    InvalidBackground,
    InvalidBlur,
    InvalidCrop,
    InvalidFormat,
    InvalidMargin,
    InvalidOption,
    InvalidQuality,
    InvalidShadow,
    InvalidSize,
    MultipleBackgrounds,
)
from app.imaging.crop import Margins
from app.imaging.output import CUTOUT, Colours, Format, Ground, Output
from model.matting import Quality

WHITE = Ground((255, 255, 255))


def test_no_option_is_the_cutout() -> None:
    assert read_output({}) == CUTOUT


@pytest.mark.parametrize(
    ("options", "output"),
    [
        ({"format": "webp"}, Output(format=Format.WEBP)),
        ({"format": " zip "}, Output(format=Format.ZIP)),
        ({"format": "WebP"}, Output(format=Format.WEBP)),
        ({"format": "PNG"}, CUTOUT),
        ({"format": "jpeg"}, Output(format=Format.JPG, background=WHITE)),
        ({"format": "JPEG"}, Output(format=Format.JPG, background=WHITE)),
        ({"background": "transparent"}, CUTOUT),
        ({"background": "Transparent", "format": "jpg"}, Output(format=Format.JPG, background=WHITE)),
        ({"background": "#fff0", "blur": "5"}, Output(blur=5)),
        ({"background": "rgba(1, 2, 3, 0)"}, CUTOUT),
        ({"background": "rgb(1, 2, 3)"}, Output(background=Ground((1, 2, 3)))),
        ({"crop": "on"}, Output(crop=Margins.parse("0px"))),
        ({"crop": "Yes"}, Output(crop=Margins.parse("0px"))),
        ({"crop": "off", "margin": "5%"}, CUTOUT),
        ({"size": "FULL"}, CUTOUT),
        ({"background": "red"}, Output(background=Ground((255, 0, 0)))),
        ({"blur": "1"}, Output(blur=1)),
        ({"blur": " 100\n"}, Output(blur=100)),
        ({"crop": "true"}, Output(crop=Margins.parse("0px"))),
        ({"crop": "1", "margin": "10% 3px"}, Output(crop=Margins.parse("10% 3px"))),
        ({"margin": "5%"}, Output(crop=Margins.parse("5%"))),
        ({"crop": "false", "margin": "5%"}, CUTOUT),
        ({"crop": "0"}, CUTOUT),
        ({"size": "full"}, CUTOUT),
        ({"size": "0.25"}, Output(megapixels=0.25)),
        ({"size": ".5"}, Output(megapixels=0.5)),
        ({"size": "0.30000000000000004"}, Output(megapixels=0.1 + 0.2)),
        ({"size": "0.000000001"}, Output(megapixels=1e-9)),
        ({"shadow": "0"}, CUTOUT),
        ({"format": "avif"}, Output(format=Format.AVIF)),
        ({"color": "keep"}, CUTOUT),
        ({"color": "sRGB"}, Output(colours=Colours.SRGB)),
        ({"shadow": "040"}, Output(shadow=40)),
    ],
)
def test_option_says_what_it_is(options: dict[str, str], output: Output) -> None:
    assert read_output(options) == output


REFUSED = [
    *(("format", text, InvalidFormat) for text in ("", "jpegs", "image/png", "gif")),
    *(
        ("blur", text, InvalidBlur)
        for text in ("", "0", "101", "-1", "1.5", "1_0", "+5", "\u0661", "9" * 5000)
    ),
    *(("crop", text, InvalidCrop) for text in ("", "maybe", "2", "true false")),
    *(
        ("margin", text, InvalidMargin)
        for text in ("", "5", "51%", "501px", "-1px", "1px 2px 3px", "\u0661px")
    ),
    *(
        ("size", text, InvalidSize)
        for text in ("", "0", "0.0", "-1", "nan", "inf", "1e9", "1_0", "4 MP", "\u0662")
    ),
    *(("color", text, InvalidOption) for text in ("", "p3", "srgb,", "cmyk")),
    *(("shadow", text, InvalidShadow) for text in ("", "-1", "101", "50%", "0x10")),
    *(
        ("background", text, InvalidBackground)
        for text in ("", "#12", "12345", "rgb(1,2)", "no colour", "#ggg")
    ),
]


@pytest.mark.parametrize(("name", "text", "problem"), REFUSED, ids=lambda value: str(value)[:12])
def test_value_that_means_nothing_is_refused_by_name_and_repeated_in_short(name, text, problem) -> None:
    with pytest.raises(problem) as caught:
        read_output({name: text})
    assert f"`{name}`" in caught.value.detail
    assert repr(text[:100]) in caught.value.detail
    assert len(caught.value.detail) < 250


@pytest.mark.parametrize(
    ("options", "picture"),
    [
        ({"background": "red", "blur": "5"}, None),
        ({"background": "red"}, b"a file"),
        ({"blur": "5"}, b"a file"),
    ],
)
def test_one_background_excludes_another(options, picture) -> None:
    with pytest.raises(MultipleBackgrounds):
        read_output(options, picture)


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


def test_jpg_knows_no_transparency_and_is_laid_on_white() -> None:
    assert read_output({"format": "jpg"}).background == WHITE
    assert read_output({"format": "jpg", "background": "#0000ff80"}).background == Ground((127, 127, 255))
    assert read_output({"format": "jpg", "background": "red"}).background == Ground((255, 0, 0))
    assert read_output({"format": "jpg"}, b"a file").background == b"a file"
    assert read_output({"format": "jpg", "blur": "5"}).background is None


def test_ground_that_cannot_be_seen_is_white() -> None:
    assert on_white(Ground((9, 8, 7), 0)) == WHITE


def test_quality_is_standard_or_high() -> None:
    assert quality_of({}) is Quality.STANDARD
    assert quality_of({"quality": " high "}) is Quality.HIGH
    assert quality_of({"quality": "High"}) is Quality.HIGH
    for text in ("", "best"):
        with pytest.raises(InvalidQuality, match="standard, high"):
            quality_of({"quality": text})


def test_truth_is_written_in_many_ways() -> None:
    assert all(map(boolean, ("true", "True", "1", "on", "ON", "yes", "Yes")))
    assert not any(map(boolean, ("false", "FALSE", "0", "off", "Off", "no")))


def test_whole_numbers_have_their_limits() -> None:
    read = whole(3, 5)
    assert [read("3"), read("05")] == [3, 5]
    for text in ("2", "6", "-4", "4.0", "0004"):
        with pytest.raises(ValueError, match=re.escape(text)):
            read(text)


def test_more_than_one_background_says_that_one_is_to_be_sent() -> None:
    for options, picture in (({"background": "red", "blur": "5"}, None), ({"background": "red"}, b"x")):
        with pytest.raises(MultipleBackgrounds, match="Send one background"):
            read_output(options, picture)
