"""Bad and odd photo files, by kind: each as its name, its bytes and what has to become of it.

Everything is made from drawn pictures of some thousand pixels and from headers written by hand, when it is asked for.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np

from app.errors import ClientError, TooManyPixels, UnreadableImage
from app.imaging import file_checks
from tests.support.images import jpeg, png, portrait, saved

# The upright (height, width) of the picture, the refusal, or None: either will do.
Expected = tuple[int, int] | type[ClientError] | None

SIZE: Final = (60, 80)
CUTS: Final = 40
FLIPS: Final = 150
ORIENTATION: Final = 0x0112


class Case(NamedTuple):
    name: str
    data: bytes
    expected: Expected


def whole() -> dict[str, bytes]:
    """A good file of each format, `SIZE` large."""
    image = portrait(*SIZE)
    return {
        "jpeg": jpeg(image),
        "progressive": jpeg(image, progressive=True),
        "png": png(image),
        "lossy webp": saved(image, "WEBP"),
        "lossless webp": saved(image, "WEBP", lossless=True),
    }


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def into_jpeg(extra: bytes) -> bytes:
    """A good JPEG with `extra` before its other segments."""
    data = jpeg(portrait(*SIZE))
    return data[:2] + extra + data[2:]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def into_png(extra: bytes, *, at_end: bool = False) -> bytes:
    """A good PNG with `extra` behind its IHDR, or before its IEND."""
    data = png(portrait(*SIZE))
    at = len(data) - 12 if at_end else 33
    return data[:at] + extra + data[at:]


def raw_png(width: int, height: int, depth: int, colour: int, row: bytes | None = None) -> bytes:
    """A PNG of equal rows; without one it has no data at all, only a header that promises."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = b"" if row is None else zlib.compress((b"\0" + row) * height, 1)
    return b"".join((b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), chunk(b"IDAT", body), chunk(b"IEND", b"")))


def resized_jpeg(width: int, height: int, progressive: bool = False) -> bytes:
    """A small JPEG whose frame header promises another size."""
    data = jpeg(portrait(*SIZE), progressive=progressive)
    at = data.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(k + struct.pack("<I", len(b)) + b + b"\0" * (len(b) % 2) for k, b in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def extended_webp(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    """The VP8X chunk: a canvas of any size up to 2^24 a side."""
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X", bytes((flags, 0, 0, 0)) + sides


def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes so often that there are `count`."""
    data = jpeg(portrait(*SIZE), progressive=True)
    first, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[first:end] * (count - data.count(b"\xff\xda")) + data[end:]


def exif(body: bytes, orientation: int = 1) -> bytes:
    """JPEG segment of a TIFF header, an IFD with the orientation, and `body` as further entries (12 bytes each)."""
    entry = struct.pack("<HHII", ORIENTATION, 3, 1, orientation)
    count = struct.pack("<H", 1 + len(body) // 12)
    # The next IFD is this one again.
    return segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0" + count + entry + body + struct.pack("<I", 8))


def _truncated() -> Iterator[Case]:
    for name, data in whole().items():
        for cut in np.linspace(0, len(data) - 1, CUTS).astype(int):
            yield Case(f"{name} cut at {cut}", data[:cut], ClientError)


def _flipped() -> Iterator[Case]:
    random = np.random.default_rng(11)
    for name, data in whole().items():
        # Half of them in the headers, where a bit means most.
        places = (*random.integers(0, 200, FLIPS // 2), *random.integers(0, len(data), FLIPS // 2))
        for place in places:
            damaged = bytearray(data)
            damaged[place] ^= 1 << int(random.integers(8))
            yield Case(f"{name} flipped at {place}", bytes(damaged), None)


def _swapped_magic() -> Iterator[Case]:
    files = whole()
    magics = {"jpeg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n", "lossy webp": b"RIFF\x10\0\0\0WEBP"}
    for magic, start in magics.items():
        for name in magics.keys() - {magic}:
            yield Case(f"{name} as {magic}", start + files[name][len(start) :], UnreadableImage)
            yield Case(f"{magic}'s magic before {name}", start + files[name], UnreadableImage)


def _promised_size() -> Iterator[Case]:
    yield Case("png", raw_png(50_000, 50_000, 8, 2), TooManyPixels)
    yield Case("png of 2^31 a side", raw_png(2**31 - 1, 2**31 - 1, 1, 0), TooManyPixels)
    yield Case("jpeg", resized_jpeg(65_500, 65_500), TooManyPixels)
    yield Case("progressive", resized_jpeg(65_500, 65_500, progressive=True), TooManyPixels)
    yield Case("webp canvas", webp(extended_webp(2**24, 2**24)), TooManyPixels)
    yield Case("lossless webp", webp((b"VP8L", b"\x2f" + struct.pack("<I", 2**28 - 1))), TooManyPixels)
    lossy = b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", 16_383, 16_383)
    yield Case("lossy webp", webp((b"VP8 ", lossy)), TooManyPixels)
    small_canvas = webp(extended_webp(8, 8), (b"VP8 ", lossy))
    yield Case("webp larger than its canvas", small_canvas, UnreadableImage)
    yield Case("jpeg's data ends early", resized_jpeg(400, 400), None)
    yield Case("jpeg's data is too long", resized_jpeg(16, 16), (16, 16))
    yield Case("png's data ends early", raw_png(300, 300, 8, 2), UnreadableImage)


def _second_header() -> Iterator[Case]:
    """What passes the check on one of them must not be decoded by the other."""
    data = jpeg(portrait(*SIZE))
    at = data.index(b"\xff\xc0")
    frame = data[at : at + 19]
    for side in (8, 60_000):
        other = frame[:5] + struct.pack(">HH", side, side) + frame[9:]
        for name, frames in (("before", other + frame), ("behind", frame + other)):
            double = data[:at] + frames + data[at + 19 :]
            yield Case(f"JPEG of {side} a side {name}", double, ClientError)
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        yield Case(f"PNG of {side} a side behind", into_png(header), None if side == 8 else ClientError)
        whole_png = png(portrait(*SIZE))
        yield Case(f"PNG of {side} a side at the end", whole_png[:-12] + header + whole_png[-12:], SIZE)
    endless = zlib.compress(bytes(20_000_000), 9)
    tail = chunk(b"IDAT", endless) + chunk(b"IEND", b"")
    yield Case("PNG of 20 MB for 9 rows", raw_png(9, 9, 8, 0)[:33] + tail, (9, 9))


def _no_size() -> Iterator[Case]:
    for width, height in ((0, 0), (0, 9), (9, 0)):
        yield Case(f"png {width} x {height}", raw_png(width, height, 8, 2, b""), UnreadableImage)
        yield Case(f"jpeg {width} x {height}", resized_jpeg(width, height), UnreadableImage)
        lossy = b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)
        yield Case(f"webp {width} x {height}", webp((b"VP8 ", lossy)), UnreadableImage)


def _endless_parts() -> Iterator[Case]:
    yield Case("hundreds of scans", scans(400), UnreadableImage)
    yield Case("as many scans as may be", scans(file_checks.SCANS_MAX), SIZE)
    yield Case("a scan more", scans(file_checks.SCANS_MAX + 1), UnreadableImage)
    yield Case("tables without end", _tables_between_scans(), UnreadableImage)
    yield Case("empty comments", into_jpeg(segment(0xFE, b"") * 100_000), UnreadableImage)
    yield Case("crumbs of EXIF", into_jpeg(segment(0xE1, b"Exif\0\0.") * 100_000), UnreadableImage)
    yield Case("filling bytes", into_jpeg(b"\xff" * 1_000_000), UnreadableImage)
    yield Case("stray bytes", into_jpeg(segment(0xFE, b"") + b"\x01" * 1_000_000), UnreadableImage)
    yield Case("empty chunks", into_png(chunk(b"teSt", b"") * 100_000), UnreadableImage)
    yield Case("one-letter texts", into_png(chunk(b"tEXt", b"a\0b") * 100_000), UnreadableImage)
    data = png(portrait(*SIZE))
    first = data.index(b"IDAT") - 4
    empty = chunk(b"IDAT", b"") * 100_000
    yield Case("empty picture chunks", data[:first] + empty + data[first:], UnreadableImage)


def _tables_between_scans() -> bytes:
    data = scans(file_checks.SCANS_MAX + 1)
    first = data.rindex(b"\xff\xda")
    return data[:first] + segment(0xFE, b"") * 100_000 + data[first:]


def _exif() -> Iterator[Case]:
    height, width = SIZE
    for orientation in range(1, 9):
        upright = SIZE if orientation < 5 else (width, height)
        yield Case(f"orientation {orientation}", into_jpeg(exif(b"", orientation)), upright)
    huge = struct.pack("<HHII", 0x010F, 2, 2**32 - 1, 0)
    yield Case("text of 4 GiB", into_jpeg(exif(huge)), SIZE)
    yield Case("points behind the end", into_jpeg(exif(struct.pack("<HHII", 0x010F, 2, 99, 2**31))), SIZE)
    yield Case(
        "five thousand texts", into_jpeg(exif(struct.pack("<HHII", 0x010F, 2, 9_000, 0) * 5_000)), SIZE
    )
    inner = struct.pack("<HHII", 0x8769, 4, 1, 8)
    yield Case("an IFD within itself", into_jpeg(exif(inner)), SIZE)
    yield Case("unknown types", into_jpeg(exif(struct.pack("<HHII", 0x010F, 99, 1, 1))), SIZE)
    yield Case("no IFD", into_jpeg(segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")), SIZE)
    yield Case("random bytes", into_jpeg(segment(0xE1, b"Exif\0\0" + bytes(range(256)) * 9)), SIZE)
    yield Case(
        "broken multi-picture index", into_jpeg(segment(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff" * 3)), None
    )


def _metadata() -> Iterator[Case]:
    """What a file carries beside its picture costs nobody the picture, and nobody unpacks it."""
    bomb = zlib.compress(bytes(10_000_000), 9)
    million = zlib.compress(bytes(1_000_000), 9)
    for name, extra in (
        ("zTXt of 10 MB", chunk(b"zTXt", b"k\0\0" + bomb)),
        ("iTXt of 10 MB", chunk(b"iTXt", b"k\0\1\0\0\0" + bomb)),
        ("a hundred zTXt of 1 MB", chunk(b"zTXt", b"k\0\0" + million) * 100),
        ("iCCP of 10 MB", chunk(b"iCCP", b"k\0\0" + bomb)),
        ("iCCP of an unknown method", chunk(b"iCCP", b"k\0\7" + bomb)),
        ("zTXt that is not zlib's", chunk(b"zTXt", b"k\0\0" + bytes(99))),
        ("tEXt of 20 MB", chunk(b"tEXt", b"k\0" + b"x" * 20_000_000)),
        ("chunk of nobody's, 4 MB", chunk(b"teSt", bytes(4_000_000))),
        ("text that calls itself transparency", chunk(b"tEXt", b"transparency\0" + b"9")),
        ("text that calls itself interlaced", chunk(b"tEXt", b"interlace\0" + b"1")),
        ("text that calls itself a frame", chunk(b"tEXt", b"bbox\0" + b"1234")),
        ("EXIF of 4 MB", chunk(b"eXIf", b"II*\0\x08\0\0\0" + bytes(4_000_000))),
    ):
        yield Case(name, into_png(extra), SIZE)
        yield Case(f"{name}, at the end", into_png(extra, at_end=True), SIZE)
    yield Case("comments of 4 MB", into_jpeg(segment(0xFE, bytes(65_000)) * 64), SIZE)
    yield Case("APP15 of 4 MB", into_jpeg(segment(0xEF, bytes(65_000)) * 64), SIZE)
    icc = b"".join(segment(0xE2, b"ICC_PROFILE\0" + bytes((n, 255)) + bytes(9_000)) for n in range(1, 256))
    yield Case("colour profile in 255 parts", into_jpeg(icc), SIZE)
    image = portrait(*SIZE)
    for kind in ("JPEG", "PNG", "WEBP"):
        yield Case(f"colour profile that is none, {kind}", saved(image, kind, icc_profile=b"?" * 500), SIZE)


KINDS: Final[dict[str, Callable[[], Iterator[Case]]]] = {
    "truncated": _truncated,
    "a bit flipped": _flipped,
    "magic of another format": _swapped_magic,
    "size that the header only promises": _promised_size,
    "two headers": _second_header,
    "no size": _no_size,
    "parts without end": _endless_parts,
    "broken EXIF": _exif,
    "large metadata": _metadata,
}
