from __future__ import annotations

import pytest

from app.api.removebg_options import RemovebgOptions, read_output
from app.errors import InvalidOption, MultipleBackgrounds
from app.imaging.crop import Placement, Region
from app.imaging.output import CUTOUT, MATTE, Channels, Output
from app.options import Format
from app.values import Ground, Margins

BLUE = Ground((0x81, 0xD4, 0xFA))


@pytest.mark.parametrize(
    ("parameters", "output"),
    [
        ({}, CUTOUT),
        ({"size": "auto", "type": "auto", "type_level": "latest", "semitransparency": "false"}, CUTOUT),
        ({"type": "person", "type_level": "none", "format": "auto", "channels": "rgba"}, CUTOUT),
        ({"size": "preview"}, Output(size=0.25)),
        ({"size": "regular"}, Output(size=0.25)),
        ({"size": "small"}, Output(size=0.25)),
        ({"size": "medium"}, Output(size=1.5)),
        ({"size": "hd"}, Output(size=4)),
        ({"size": "4k"}, Output(size=10)),
        ({"size": "50MP"}, Output(size=50)),
        ({"size": "full"}, CUTOUT),
        ({"format": "zip"}, Output(format=Format.ZIP)),
        ({"format": "jpg"}, Output(format=Format.JPG)),
        ({"format": "JPEG"}, Output(format=Format.JPG)),
        ({"format": "AUTO", "type": "Person", "type_level": "None", "channels": "RGBA"}, CUTOUT),
        ({"size": "50mp"}, Output(size=50)),
        ({"size": "4K"}, Output(size=10)),
        ({"crop": "yes"}, Output(crop=True)),
        ({"position": "CENTER"}, Output(placement=Placement(None, 50, 50))),
        ({"scale": "Original"}, CUTOUT),
        ({"add_shadow": "on", "shadow_type": "Drop"}, Output(shadow=50)),
        ({"bg_color": "transparent"}, CUTOUT),
        ({"bg_color": "rgb(129, 212, 250)"}, Output(background=BLUE, format=Format.JPG)),
        ({"bg_color": "81d4fa", "format": "png"}, Output(background=BLUE)),
        ({"bg_color": "81d4fa"}, Output(background=BLUE, format=Format.JPG)),
        ({"bg_color": "81d4fa77"}, Output(background=Ground(BLUE.colour, 0x77))),
        ({"bg_color": "green"}, Output(background=Ground((0, 128, 0)), format=Format.JPG)),
        ({"channels": "alpha"}, MATTE),
        ({"channels": "alpha", "bg_color": "green"}, MATTE),
        ({"channels": "alpha", "format": "jpg"}, Output(channels=Channels.ALPHA, format=Format.JPG)),
        ({"crop": "true"}, Output(crop=True)),
        ({"crop": "true", "crop_margin": "0"}, Output(margin=Margins.parse("0px"))),
        ({"crop": "true", "crop_margin": "10%"}, Output(margin=Margins.parse("10%"))),
        ({"crop": "true", "crop_margin": "20px 5% 0 1px"}, Output(margin=Margins.parse("20px 5% 0px 1px"))),
        ({"crop_margin": "10%"}, CUTOUT),
        ({"roi": "0% 0% 100% 100%"}, Output(region=Region.parse("0% 0% 100% 100%"))),
        ({"roi": "0 0 50% 20px"}, Output(region=Region.parse("0px 0px 50% 20px"))),
        ({"scale": "original"}, CUTOUT),
        ({"position": "original"}, CUTOUT),
        ({"scale": "50%"}, Output(placement=Placement(50, 50, 50))),
        ({"scale": "50%", "position": "original"}, Output(placement=Placement(50))),
        ({"position": "center"}, Output(placement=Placement(None, 50, 50))),
        ({"position": "20%"}, Output(placement=Placement(None, 20, 20))),
        ({"scale": "12.5%", "position": "50% 10%"}, Output(placement=Placement(12.5, 50, 10))),
        ({"position": "0% 100%"}, Output(placement=Placement(None, 0, 100))),
        ({"add_shadow": "true"}, Output(shadow=50)),
        ({"add_shadow": "true", "shadow_opacity": "80"}, Output(shadow=80)),
        ({"add_shadow": "true", "shadow_type": "none"}, CUTOUT),
        ({"add_shadow": "false", "shadow_type": "drop"}, CUTOUT),
        ({"shadow_type": "drop"}, Output(shadow=50)),
        ({"shadow_type": "none"}, CUTOUT),
        ({"shadow_opacity": "80"}, CUTOUT),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_parameters_are_said_in_our_own_words(parameters: dict[str, str], output: Output) -> None:
    assert read_output(parameters) == output


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("size", "huge", "invalid_size"),
        ("size", "nan", "invalid_size"),
        ("type", "car", "invalid_type"),
        ("type_level", "3", "invalid_type"),
        ("format", "gif", "invalid_format"),
        ("roi", "10% 10%", "invalid_roi"),
        ("roi", "0 0 1 1", "invalid_roi"),
        ("crop", "maybe", "invalid_crop"),
        ("crop_margin", "51%", "invalid_crop_margin"),
        ("scale", "9%", "invalid_scale"),
        ("scale", "101%", "invalid_scale"),
        ("scale", "50", "invalid_scale"),
        ("scale", "\u0665\u0660%", "invalid_scale"),
        ("position", "top", "invalid_position"),
        ("position", "1% 2% 3%", "invalid_position"),
        ("position", "101%", "invalid_position"),
        ("channels", "rgb", "invalid_channels"),
        ("add_shadow", "dark", "invalid_shadow"),
        ("shadow_type", "3D", "invalid_shadow"),
        ("shadow_opacity", "101", "invalid_shadow"),
        ("shadow_opacity", "0.5", "invalid_shadow"),
        ("bg_color", "81d4f", "invalid_bg_color"),
        ("bg_color", "rgb(1,2)", "invalid_bg_color"),
    ],
)
def test_value_that_means_nothing_is_refused_by_name(name: str, text: str, code: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        read_output({name: text})
    assert caught.value.code == code
    expected = RemovebgOptions.schemas()[name]["description"].removesuffix(".")
    expected = expected[0].lower() + expected[1:]
    assert caught.value.detail == f"`{name}` takes {expected}; {text!r} was sent."


def test_picture_is_the_background_of_an_opaque_jpeg() -> None:
    assert read_output({}, b"a file") == Output(background=b"a file", format=Format.JPG)
    assert read_output({"format": "png"}, b"a file") == Output(background=b"a file")
    assert read_output({"channels": "alpha"}, b"a file") == MATTE
    assert read_output({"bg_color": "transparent"}, b"a file") == Output(
        background=b"a file", format=Format.JPG
    )
    with pytest.raises(MultipleBackgrounds):
        read_output({"bg_color": "red"}, b"a file")


def test_zip_of_the_alpha_alone_is_refused() -> None:
    with pytest.raises(InvalidOption, match="no colours"):
        read_output({"format": "zip", "channels": "alpha"})
