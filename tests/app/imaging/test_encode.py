from __future__ import annotations

import io
import zipfile

import numpy as np
import PIL.Image
import pytest

from app.errors import InvalidOption
from app.imaging.encode import SIDE_MAX, encode
from app.options import Format
from tests.support.images import Image, pixels, portrait


def rgba() -> Image:
    """A portrait whose alpha rises from left to right."""
    image = portrait()
    ramp = np.linspace(0, 255, image.shape[1]).astype(np.uint8)
    return np.dstack((image, np.broadcast_to(ramp, image.shape[:2])))


PICTURES = {"grey": portrait()[..., 0].copy(), "RGB": portrait(), "RGBA": rgba()}
KINDS = {Format.PNG: "PNG", Format.WEBP: "WEBP", Format.AVIF: "AVIF", Format.JPG: "JPEG"}


@pytest.mark.parametrize("mode", PICTURES)
@pytest.mark.parametrize("kind", KINDS)
def test_file_is_of_its_kind_and_size(kind: Format, mode: str) -> None:
    with PIL.Image.open(io.BytesIO(encode(PICTURES[mode], kind))) as opened:
        assert opened.format == KINDS[kind]
        assert opened.size == (80, 60)
        opened.load()


@pytest.mark.parametrize("mode", PICTURES)
def test_png_holds_every_pixel(mode: str) -> None:
    assert np.array_equal(pixels(encode(PICTURES[mode], Format.PNG)), PICTURES[mode])


def test_avif_keeps_alpha_and_colours_nearly() -> None:
    decoded = pixels(encode(rgba(), Format.AVIF)).astype(int)
    assert np.abs(decoded[..., 3] - rgba()[..., 3]).mean() < 1
    seen = rgba()[..., 3] > 0
    assert np.abs(decoded[..., :3] - portrait())[seen].mean() < 4  # colours have half the resolution


def test_webp_keeps_alpha_as_it_is_and_colours_nearly() -> None:
    decoded = pixels(encode(rgba(), Format.WEBP))
    assert np.array_equal(decoded[..., 3], rgba()[..., 3])
    seen = rgba()[..., 3] > 0
    # Colours have half the resolution: 2.4 levels in the mean, most of it at hard edges.
    assert np.abs(decoded[..., :3].astype(int) - portrait())[seen].mean() < 3


def test_webp_of_one_channel_is_grey() -> None:
    decoded = pixels(encode(PICTURES["grey"], Format.WEBP)).astype(int)
    assert np.abs(decoded - PICTURES["grey"][..., None]).mean() < 3


def test_jpg_leaves_alpha_out_and_keeps_colours_nearly() -> None:
    decoded = pixels(encode(rgba(), Format.JPG))
    assert decoded.shape == (60, 80, 3)
    assert np.abs(decoded.astype(int) - portrait()).mean() < 2
    assert pixels(encode(PICTURES["grey"], Format.JPG)).ndim == 2


def test_zip_holds_colours_and_alpha() -> None:
    data = encode(rgba(), Format.ZIP)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["color.jpg", "alpha.png"]
        colours, alpha = (pixels(archive.read(name)) for name in archive.namelist())
    assert np.abs(colours.astype(int) - portrait()).mean() < 2
    assert np.array_equal(alpha, rgba()[..., 3])


def test_zip_of_an_opaque_picture_has_an_opaque_alpha() -> None:
    with zipfile.ZipFile(io.BytesIO(encode(portrait(), Format.ZIP))) as archive:
        assert (pixels(archive.read("alpha.png")) == np.full((60, 80), 255)).all()


@pytest.mark.parametrize("kind", Format)
def test_equal_pictures_make_equal_files(kind: Format) -> None:
    assert encode(rgba(), kind) == encode(rgba(), kind)


@pytest.mark.parametrize("kind", SIDE_MAX)
@pytest.mark.parametrize("upright", [True, False])
def test_side_that_the_format_cannot_hold_is_refused_and_png_is_named(kind: Format, upright: bool) -> None:
    line = np.zeros((SIDE_MAX[kind] + 1, 1, 4), np.uint8)
    line = line if upright else line.transpose(1, 0, 2)
    with pytest.raises(InvalidOption, match=f"{SIDE_MAX[kind]}.*`png`"):
        encode(line, kind)
    assert pixels(encode(line, Format.PNG)).shape == line.shape


@pytest.mark.parametrize("kind", SIDE_MAX)
def test_longest_side_that_the_format_can_hold_is_encoded(kind: Format) -> None:
    assert encode(np.zeros((1, SIDE_MAX[kind], 3), np.uint8), kind)
