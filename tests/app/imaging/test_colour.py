"""Colour profiles, from the photo's file to the answer's."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
from PIL import ImageCms

from app.imaging import colour, decode
from app.imaging.encode import encode
from app.imaging.output import CUTOUT, MATTE, Output
from app.inference.registry import STAND_IN
from app.options import Colours, Format
from app.pipeline import finish, prepare
from app.values import Ground
from model.transforms import BAR_COLOUR
from tests.support.hostile_images import chunk
from tests.support.images import Image, jpeg, pixels, png, portrait, saved
from tests.support.person_image import SIDE, alpha_of_standing, finds_standing, standing
from tests.support.unusual_images import display_p3

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def adobe_rgb() -> bytes:
    """Display P3's form with Adobe RGB's primaries and its gamma, 2.2."""
    data = display_p3()
    for old, new in (
        ((0.5151, 0.2412, -0.0011), (0.6097, 0.3111, 0.0195)),
        ((0.2919, 0.6922, 0.0419), (0.2053, 0.6257, 0.0609)),
        ((0.1571, 0.0666, 0.7841), (0.1492, 0.0632, 0.7446)),
    ):
        before, after = (struct.pack(">3i", *(round(each * 65_536) for each in xyz)) for xyz in (old, new))
        assert before in data
        data = data.replace(before, after)
    return data


def grey_profile(gamma: float = 1.8) -> bytes:
    """Of grey, with a curve far from sRGB's."""
    parts = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(78),
        b"wtpt": b"XYZ "
        + bytes(4)
        + struct.pack(">3i", *(round(each * 65_536) for each in (0.9642, 1, 0.8249))),
        b"kTRC": b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)),
    }
    table, body, at = struct.pack(">I", len(parts)), b"", 128 + 4 + 12 * len(parts)
    for tag, part in parts.items():
        table += tag + struct.pack(">II", at + len(body), len(part))
        body += part + bytes(-len(part) % 4)
    head = b"\2\x10\0\0mntrGRAYXYZ " + bytes(12) + b"acsp" + bytes(28)
    head += struct.pack(">3i", *(round(each * 65_536) for each in (0.9642, 1, 0.8249)))
    return struct.pack(">II", at + len(body), 0) + head.ljust(120, b"\0") + table + body


WIDE = {"Display P3": display_p3(), "Adobe RGB": adobe_rgb()}


def seen(image: Image, profile: bytes) -> Image:
    """In sRGB, by LittleCMS itself."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return np.asarray(
        ImageCms.profileToProfile(
            PIL.Image.fromarray(image),
            source,
            ImageCms.createProfile("sRGB"),
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
    )


def profile_of(data: bytes) -> bytes | None:
    return PIL.Image.open(io.BytesIO(data)).info.get("icc_profile")


def done(data: bytes, output: Output) -> bytes:
    prepared = prepare(data, output, SIDE, "stretch", max_pixels=10_000)
    return finish(prepared, list(finds_standing(np.stack(prepared.views))), output, STAND_IN).data


@pytest.mark.parametrize("name", WIDE)
def test_cutout_on_white_has_the_photos_colours_as_seen_through_its_profile(name: str) -> None:
    profile = WIDE[name]
    answer = done(saved(standing(), "PNG", icc_profile=profile), Output(background=Ground((255, 255, 255))))
    assert profile_of(answer) == profile
    person = alpha_of_standing() == 255
    before, after = seen(standing(), profile), seen(pixels(answer), profile)
    assert np.abs(before[person].astype(int) - after[person]).max() <= 1
    assert (after[alpha_of_standing() == 0] >= 254).all()
    # Without the profile they would be others.
    assert np.abs(before[person].astype(int) - standing()[person]).max() > 1


@pytest.mark.parametrize("kind", [each for each in Format if each is not Format.ZIP])
def test_profile_and_density_are_in_every_kind_of_answer(kind: Format) -> None:
    data = saved(standing(), "PNG", icc_profile=display_p3(), dpi=(300, 300))
    answer = done(data, Output(format=kind, background=Ground((255, 255, 255))))
    assert profile_of(answer) == display_p3()
    assert decode.decode_photo(answer, max_pixels=10_000).density == pytest.approx((300, 300), abs=0.1)


def test_long_profile_is_put_into_several_segments_of_a_jpeg() -> None:
    profile = display_p3() + bytes(200_000)
    answer = encode(portrait(), Format.JPG, profile=profile)
    assert profile_of(answer) == profile
    assert np.array_equal(pixels(answer), pixels(encode(portrait(), Format.JPG)))


def test_matte_has_no_profile_and_keeps_the_density() -> None:
    answer = done(saved(standing(), "PNG", icc_profile=display_p3(), dpi=(300, 300)), MATTE)
    assert profile_of(answer) is None
    assert decode.decode_photo(answer, max_pixels=10_000).density == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize("name", WIDE)
def test_srgb_converts_the_photo(name: str) -> None:
    data = saved(standing(), "PNG", icc_profile=WIDE[name])
    answer = done(data, Output(color=Colours.SRGB, background=Ground((1, 2, 3))))
    assert profile_of(answer) is None
    person = alpha_of_standing() == 255
    assert np.abs(pixels(answer)[person].astype(int) - seen(standing(), WIDE[name])[person]).max() <= 1
    assert (pixels(answer)[alpha_of_standing() == 0] == (1, 2, 3)).all()


def test_background_colour_and_picture_are_converted_into_the_photos_profile() -> None:
    data = saved(standing(), "PNG", icc_profile=display_p3())
    beside = alpha_of_standing() == 0
    under = np.full((SIDE, SIDE, 3), (200, 40, 90), np.uint8)
    for ground in (Ground((200, 40, 90)), png(under)):
        answer = done(data, Output(background=ground))
        shown = seen(pixels(answer), display_p3())[beside]
        # 8 bits of one and then of the other: each rounds by half a step, of steps that differ in size.
        assert np.abs(shown.astype(int) - (200, 40, 90)).max() <= 2
    of_adobe = done(data, Output(background=saved(under, "PNG", icc_profile=adobe_rgb())))
    expected = seen(under, adobe_rgb())[beside]
    assert np.abs(seen(pixels(of_adobe), display_p3())[beside].astype(int) - expected).max() <= 3


def test_network_sees_srgb_and_the_bars_as_they_are() -> None:
    data = saved(portrait(20, 80), "PNG", icc_profile=display_p3())
    prepared = prepare(data, CUTOUT, 32, "letterbox", max_pixels=10_000)
    plain = prepare(png(portrait(20, 80)), CUTOUT, 32, "letterbox", max_pixels=10_000)
    (view,), (own,) = prepared.views, plain.views
    bars = (own == BAR_COLOUR).all(axis=-1)
    assert bars.any()
    assert (view[bars] == BAR_COLOUR).all()
    assert np.abs(view[~bars].astype(int) - seen(own, display_p3())[~bars]).max() <= 1
    assert prepared.squares is not None
    assert np.array_equal(prepared.squares[0], own)


def test_photo_of_srgb_takes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colour, "_transform", lambda *_: pytest.fail("converted"))
    for kind in ("PNG", "JPEG", "WEBP"):
        for options in ({}, {"icc_profile": SRGB}):
            data = saved(standing(), kind, **options)
            prepared = prepare(data, CUTOUT, 32, "stretch", max_pixels=10_000)
            assert (prepared.profile, prepared.squares) == (None, None)


def curve_of_table() -> bytes:
    """As HP's and Microsoft's profile of sRGB has it: 1024 levels."""
    levels = np.linspace(0, 1, 1_024)
    light = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return b"curv" + bytes(4) + struct.pack(">I", 1_024) + np.rint(light * 65_535).astype(">u2").tobytes()


def test_srgb_is_known_by_its_primaries_and_curve() -> None:
    assert colour.is_srgb(SRGB)
    assert not any(colour.is_srgb(each) for each in (*WIDE.values(), grey_profile(), b"", bytes(500)))
    matrix = {
        b"rXYZ": (0.43607, 0.22249, 0.01392),
        b"gXYZ": (0.38515, 0.71687, 0.09708),
        b"bXYZ": (0.14307, 0.06061, 0.71410),
    }
    parts = {
        name: b"XYZ " + bytes(4) + struct.pack(">3i", *(round(x * 65_536) for x in xyz))
        for name, xyz in matrix.items()
    }
    for curve, known in (
        (curve_of_table(), True),
        (b"curv" + bytes(4) + struct.pack(">IH", 1, 0x0133), False),
    ):
        whole = parts | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
        table, body = struct.pack(">I", len(whole)), b""
        for name, part in whole.items():
            table += name + struct.pack(">II", 132 + 12 * len(whole) + len(body), len(part))
            body += part
        assert colour.is_srgb(bytes(128) + table + body) == known


def test_cmyk_and_grey_become_srgb_by_their_profiles() -> None:
    grey = PIL.Image.fromarray(portrait()).convert("L")
    expected = np.asarray(
        ImageCms.profileToProfile(
            grey,
            ImageCms.ImageCmsProfile(io.BytesIO(grey_profile())),
            ImageCms.createProfile("sRGB"),
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
        )
    )
    for kind, options in (("PNG", {}), ("TIFF", {}), ("JPEG", {"quality": 100})):
        photo = decode.decode_photo(
            saved(grey, kind, icc_profile=grey_profile(), **options), max_pixels=10_000
        )
        assert photo.profile is None
        assert np.abs(photo.image.astype(int) - expected).mean() < 0.5
        assert np.abs(photo.image[..., 0].astype(int) - np.asarray(grey)).mean() > 3


BROKEN = {
    "none": b"?" * 500,
    "cut off": display_p3()[:200],
    "of another kind of pixels": grey_profile(),
    "a link": display_p3()[:12] + b"link" + display_p3()[16:],
    "without a signature": display_p3()[:36] + b"????" + display_p3()[40:],
    "longer than it is": b"\xff" * 4 + display_p3()[4:],
    "tags behind its end": display_p3()[:132] + b"\xff" * 120 + display_p3()[252:],
    "too large": struct.pack(">I", 9 << 20) + display_p3()[4:] + bytes(9 << 20),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_broken_profile_is_none(name: str, kind: str) -> None:
    photo = decode.decode_photo(saved(portrait(), kind, icc_profile=BROKEN[name]), max_pixels=10_000)
    assert photo.profile is None
    assert photo.image.shape == portrait().shape


def test_png_that_says_srgb_is_one_of_srgb_whatever_its_profile() -> None:
    data = saved(portrait(), "PNG", icc_profile=display_p3())
    assert (
        decode.decode_photo(data[:33] + chunk(b"sRGB", b"\0") + data[33:], max_pixels=10_000).profile is None
    )


def test_profile_in_a_png_is_unpacked_as_far_as_it_says() -> None:
    packed = zlib.compress(display_p3() + bytes(50_000_000))
    assert colour.unpacked(b"name\0\0" + packed) == display_p3()
    for body in (b"", b"name", b"name\0", b"name\0\1" + packed, b"name\0\0" + packed[:40], b"name\0\0????"):
        assert colour.usable(colour.unpacked(body), "RGB") is None


def test_colours_at_the_ends_stay_there() -> None:
    for profile in WIDE.values():
        assert colour.colour_in((255, 255, 255), profile) == (255, 255, 255)
        assert colour.colour_in((0, 0, 0), profile) == (0, 0, 0)
    assert colour.colour_in((1, 2, 3), None) == (1, 2, 3)


def test_picture_is_converted_in_strips_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    image = portrait(61, 83)
    whole = colour.converted(image, display_p3())
    monkeypatch.setattr(colour, "STRIP", 200)
    assert np.array_equal(colour.converted(image, display_p3()), whole)
    assert colour.converted(image, None) is image


def test_jpeg_without_profile_and_density_is_as_it_was() -> None:
    assert encode(portrait(), Format.JPG, profile=None, dots=None) == encode(portrait(), Format.JPG)
    assert decode.decode_photo(jpeg(portrait()), max_pixels=10_000).density is None
