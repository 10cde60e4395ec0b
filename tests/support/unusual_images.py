"""Rare, long and mistaken photo files, by kind, as `tests.support.hostile_images` has the damaged ones."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import PIL.Image

from app.errors import ClientError, TooManyPixels, UnreadableImage, UnsupportedType
from tests.support.hostile_images import SIZE, Case, chunk, extended_webp, raw_png, webp
from tests.support.images import jpeg, png, portrait, saved

SIDE: Final = 65_535


def display_p3() -> bytes:
    """The colour profile of what phones call Display P3, in the form of ICC.1:2001: sRGB has no such red or green."""

    def fixed(*numbers: float) -> bytes:
        return struct.pack(f">{len(numbers)}i", *(round(number * 65_536) for number in numbers))

    name = b"wide\0"
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(2.2 * 256))
    parts = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78),
        b"cprt": b"text" + bytes(4) + b"none\0",
        b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1, 0.8249),
        b"rXYZ": b"XYZ " + bytes(4) + fixed(0.5151, 0.2412, -0.0011),
        b"gXYZ": b"XYZ " + bytes(4) + fixed(0.2919, 0.6922, 0.0419),
        b"bXYZ": b"XYZ " + bytes(4) + fixed(0.1571, 0.0666, 0.7841),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, body, at = struct.pack(">I", len(parts)), b"", 128 + 4 + 12 * len(parts)
    for tag, part in parts.items():
        table += tag + struct.pack(">II", at + len(body), len(part))
        body += part + bytes(-len(part) % 4)
    head = b"\2\x10\0\0mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28) + fixed(0.9642, 1, 0.8249)
    return struct.pack(">II", at + len(body), 0) + head.ljust(120, b"\0") + table + body


def _profiles() -> Iterator[Case]:
    image = PIL.Image.fromarray(portrait(*SIZE))
    for kind in ("JPEG", "PNG", "WEBP"):
        yield Case(f"wide gamut {kind}", saved(image, kind, icc_profile=display_p3()), SIZE)
    grey = saved(image.convert("L"), "PNG", icc_profile=display_p3())
    yield Case("a profile of colours for grey", grey, SIZE)
    cmyk = saved(image.convert("CMYK"), "JPEG", icc_profile=display_p3())
    yield Case("a profile of RGB for CMYK", cmyk, SIZE)
    part = display_p3()[:200]
    yield Case("a profile cut off", saved(image, "JPEG", icc_profile=part), SIZE)


def _colours() -> Iterator[Case]:
    image = PIL.Image.fromarray(portrait(*SIZE))
    cmyk = saved(image.convert("CMYK"), "JPEG")
    yield Case("CMYK", cmyk, SIZE)
    adobe = cmyk.index(b"Adobe\0")
    yield Case("YCCK", cmyk[: adobe + 11] + b"\x02" + cmyk[adobe + 12 :], SIZE)
    yield Case("CMYK without Adobe's marker", cmyk.replace(b"Adobe\0", b"Other\0"), SIZE)
    yield Case("grey JPEG", saved(image.convert("L"), "JPEG"), SIZE)
    yield Case("grey with alpha", saved(image.convert("LA"), "PNG"), SIZE)
    palette = image.quantize(16)
    yield Case("palette", saved(palette, "PNG"), SIZE)
    yield Case("palette, one colour clear", saved(palette, "PNG", transparency=3), SIZE)
    yield Case("palette, many half clear", saved(palette, "PNG", transparency=bytes(range(16))), SIZE)
    yield Case("palette too short", raw_png(9, 9, 8, 3, bytes(range(9))), None)
    for kind in ("PNG", "WEBP"):
        yield Case(f"wholly clear {kind}", saved(PIL.Image.new("RGBA", SIZE[::-1]), kind), SIZE)


def _depths() -> Iterator[Case]:
    # PNG's colour types: 0 grey, 2 RGB, 4 grey with alpha, 6 RGBA; and how many values a pixel of it has.
    for colour, values, depths in (
        (0, 1, (1, 2, 4, 8, 16)),
        (2, 3, (8, 16)),
        (4, 2, (8, 16)),
        (6, 4, (8, 16)),
    ):
        for depth in depths:
            row = bytes(range(7, 7 + -(-13 * values * depth // 8)))
            yield Case(f"type {colour}, {depth} bits", raw_png(13, 6, depth, colour, row), (6, 13))
    yield Case("depth that is none", raw_png(13, 6, 3, 0, bytes(5)), None)


def _codings() -> Iterator[Case]:
    """JPEG's other ways, which the decoders know, or do not: none of them is what the data is."""
    data = jpeg(portrait(*SIZE))
    at = data.index(b"\xff\xc0")
    for marker in (0xC1, 0xC2, 0xC3, 0xC5, 0xC9, 0xCA, 0xCB, 0xF7):
        yield Case(f"frame marker {marker:x}", data[: at + 1] + bytes((marker,)) + data[at + 2 :], None)
    for depth in (2, 12, 16):
        yield Case(f"{depth} bits", data[: at + 4] + bytes((depth,)) + data[at + 5 :], UnreadableImage)
    for layers in (0, 1, 2, 4, 255):
        yield Case(f"{layers} layers", data[: at + 9] + bytes((layers,)) + data[at + 10 :], ClientError)


def _interlaced() -> Iterator[Case]:
    yield Case("Adam7", _adam7(*SIZE), SIZE)
    yield Case("Adam7 of one pixel", _adam7(1, 1), (1, 1))
    yield Case("Adam7 of one column", _adam7(9, 1), (9, 1))


def _adam7(height: int, width: int) -> bytes:
    """A grey interlaced PNG: seven coarse pictures one after the other, each with its own rows."""
    grey = portrait(height, width)[..., 1]
    passes = (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    )
    parts = (grey[y::dy, x::dx] for y, x, dy, dx in passes)
    rows = b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _animated() -> Iterator[Case]:
    pictures = [PIL.Image.fromarray(np.roll(portrait(*SIZE), turn, 1)) for turn in (0, 9, 18)]
    for kind in ("PNG", "WEBP"):
        data = saved(pictures[0], kind, save_all=True, append_images=pictures[1:])
        yield Case(f"animated {kind}", data, SIZE)
    apng = saved(pictures[0], "PNG", save_all=True, append_images=pictures[1:])
    control = apng.index(b"acTL") - 4
    for frames in (0, 2**31 + 1):
        broken = apng[:control] + chunk(b"acTL", struct.pack(">II", frames, 0)) + apng[control + 20 :]
        yield Case(f"APNG of {frames} frames", broken, SIZE)
    frame = apng.rindex(b"fcTL") + 8
    outside = apng[:frame] + struct.pack(">II", 60_000, 60_000) + apng[frame + 8 :]
    yield Case("APNG with a frame of 60,000 a side", outside, None)
    yield Case("animated WebP without frames", webp(extended_webp(8, 8, 0x02), (b"ANIM", bytes(6))), None)


def _long() -> Iterator[Case]:
    for height, width in ((1, 1), (1, SIDE), (SIDE, 1), (1, 9), (9, 1)):
        name, image = f"{width} x {height}", np.full((height, width, 3), 9, np.uint8)
        yield Case(f"PNG {name}", png(image), (height, width))
        if max(height, width) <= 65_500:
            yield Case(f"JPEG {name}", jpeg(image), (height, width))
    for height, width in ((1, 100_001), (100_001, 1)):
        yield Case(f"PNG {width} x {height}", raw_png(width, height, 8, 0, bytes(width)), TooManyPixels)
    yield Case("WebP 16383 x 1", saved(np.full((1, 16_383, 3), 9, np.uint8), "WEBP"), (1, 16_383))


def _several_in_one() -> Iterator[Case]:
    image = portrait(*SIZE)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("photo.txt", "no photo")
    page = b"<html><script>alert(1)</script></html>"
    yield Case("JPEG and ZIP", jpeg(image) + archive.getvalue(), SIZE)
    film = jpeg(image) + b"\xff\xdafilm" * 500
    yield Case("JPEG and a film in which scans seem to start", film, SIZE)
    yield Case("ZIP and JPEG", archive.getvalue() + jpeg(image), UnsupportedType)
    yield Case("PNG and HTML", png(image) + page, SIZE)
    yield Case("HTML and PNG", page + png(image), UnsupportedType)
    yield Case("WebP and PDF", saved(image, "WEBP") + b"%PDF-1.7\n%%EOF", SIZE)
    yield Case("JPEG and JPEG", jpeg(image) + jpeg(portrait(7, 9)), SIZE)
    yield Case("PNG and PNG", png(image) + png(portrait(7, 9)), SIZE)


def _other_formats() -> Iterator[Case]:
    image = portrait(*SIZE)
    for kind in ("PPM", "ICO", "PDF", "TGA"):
        yield Case(kind, saved(image, kind), UnsupportedType)
    yield Case("BigTIFF", saved(image, "TIFF", big_tiff=True), UnsupportedType)
    yield Case("SVG", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', UnsupportedType)
    yield Case("a film", b"\0\0\0\x18ftypisom\0\0\0\0mp42isom" + bytes(99), UnsupportedType)
    yield Case("brand alone", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), UnreadableImage)
    yield Case("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99), UnsupportedType)
    yield Case("sound in RIFF", b"RIFF\x24\0\0\0WAVEfmt " + bytes(32), UnsupportedType)


def _tiny() -> Iterator[Case]:
    starts = {
        "jpeg": jpeg(portrait())[:24],
        "png": png(portrait())[:40],
        "webp": saved(portrait(), "WEBP")[:40],
    }
    for name, start in starts.items():
        for length in range(1, len(start)):
            yield Case(f"{length} bytes of {name}", start[:length], ClientError)
    yield Case("empty", b"", UnsupportedType)
    yield Case("zeros", bytes(1_000), UnsupportedType)


KINDS: Final[dict[str, Callable[[], Iterator[Case]]]] = {
    "colours": _colours,
    "colour profiles": _profiles,
    "bits a value": _depths,
    "other JPEGs": _codings,
    "interlaced": _interlaced,
    "animated": _animated,
    "very long": _long,
    "several files in one": _several_in_one,
    "other formats": _other_formats,
    "tiny": _tiny,
}
