"""Bytes of a photo come in, upright RGB pixels go out; and pixels back to PNG bytes. Knows no HTTP.

The header is checked before anything is decoded: format by its magic bytes, size in pixels. Nothing but the
pixels survives: output is built from arrays, so no EXIF, colour profile or comment of the photo is in it.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final, Protocol

import cv2
import numpy as np
import PIL.Image
import simplejpeg

from app.errors import TooManyPixels, UnreadableImage, UnsupportedType
from app.imaging import file_checks
from app.imaging.tiles import Strips
from model.decoder_errors import DECODER_ERRORS
from model.transforms import Image

# The limit is ours (`max_pixels`, checked right after the header), so Pillow's own guess is switched off.
PIL.Image.MAX_IMAGE_PIXELS = None
# Broken EXIF makes Pillow warn, of each tag in its own words: one photo could fill the log with thousands of lines.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

# JPEG ends at 65,535 itself. A photo's cost grows with its longer side too, not only with its pixels.
SIDE_MAX: Final = 100_000
_ORIENTATION: Final = 0x0112
# From EXIF's orientation to what brings the stored pixels upright. By OpenCV: Pillow would make a picture of its own.
_UPRIGHT: Final[dict[int, Callable[[Image], Image]]] = {
    2: lambda stored: np.asarray(cv2.flip(stored, 1), np.uint8),
    3: lambda stored: np.asarray(cv2.rotate(stored, cv2.ROTATE_180), np.uint8),
    4: lambda stored: np.asarray(cv2.flip(stored, 0), np.uint8),
    5: lambda stored: np.asarray(cv2.transpose(stored), np.uint8),
    6: lambda stored: np.asarray(cv2.rotate(stored, cv2.ROTATE_90_CLOCKWISE), np.uint8),
    7: lambda stored: np.asarray(cv2.transpose(cv2.rotate(stored, cv2.ROTATE_180)), np.uint8),
    8: lambda stored: np.asarray(cv2.rotate(stored, cv2.ROTATE_90_COUNTERCLOCKWISE), np.uint8),
}
_SIDEWAYS: Final = frozenset({5, 6, 7, 8})
_PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
_PNG_COLOUR: Final = {1: 0, 3: 2, 4: 6}
_PNG_UP: Final = 2
_PNG_STRIP: Final = 1 << 19  # bytes


def decode_image(data: bytes, *, max_pixels: int) -> Image:
    """Decode a JPEG, PNG or WebP file to an upright image uint8 `[H,W,3]` RGB.

    The orientation that EXIF says is applied, and, as in browsers, no other one. Grey, palette and CMYK become RGB,
    16 bits become 8, transparent parts are laid over white, of an animation the first picture is taken.
    Raises UnsupportedType, TooManyPixels or UnreadableImage.
    """
    return decode_reduced(data, max_pixels=max_pixels, reduction=lambda _height, _width: 1)[0]


def decode_reduced(
    data: bytes, *, max_pixels: int, reduction: Callable[[int, int], int]
) -> tuple[Image, tuple[int, int]]:
    """`decode_image`, and the photo's upright height and width. A JPEG comes as many times smaller as `reduction` of
    them says, 1 or 2, its sides rounded up: so it takes three quarters of the time."""
    kind = sniff(data)
    file_checks.check_parts(kind, data)
    try:
        if kind in _SIZES:
            _check_pixels(*_SIZES[kind](data), max_pixels)
        picture, exif = file_checks.png_picture(data, _crc32) if kind == "PNG" else (data, None)
        with PIL.Image.open(io.BytesIO(picture), formats=[kind]) as opened:
            _check_pixels(*opened.size, max_pixels)
            if not file_checks.is_whole(kind, data, _crc32):
                raise EOFError
            if kind == "JPEG":
                file_checks.check_scans(data)
            orientation = _orientation(exif or opened.info.get("exif"))
            width, height = opened.size[::-1] if orientation in _SIDEWAYS else opened.size
            pixels = _plain_jpeg(data, opened.size, reduction(height, width)) if kind == "JPEG" else None
            if pixels is None:
                pixels = np.asarray(_to_rgb(opened))
            upright = _UPRIGHT.get(orientation)
            return pixels if upright is None else upright(pixels), (height, width)
    except MemoryError:
        raise  # Nothing is wrong with the photo: its size was checked.
    except DECODER_ERRORS:
        raise UnreadableImage(f"The {kind} file is truncated or damaged.") from None


def count_pixels(data: bytes, *, max_pixels: int) -> int:
    """Width times height by the header; nothing is decoded. Raises as `decode_image` does."""
    kind = sniff(data)
    file_checks.check_parts(kind, data)
    try:
        if kind in _SIZES:
            width, height = _SIZES[kind](data)
        else:
            with PIL.Image.open(io.BytesIO(data), formats=[kind]) as opened:
                width, height = opened.size
    except DECODER_ERRORS:
        raise UnreadableImage(f"The {kind} file is truncated or damaged.") from None
    _check_pixels(width, height, max_pixels)
    return width * height


def sniff(data: bytes) -> str:
    """The format by its magic bytes: "JPEG", "PNG" or "WEBP". Raises UnsupportedType for anything else."""
    kind = file_checks.kind_of(data)
    if kind is not None:
        return kind
    raise UnsupportedType("The image must be a JPEG, PNG or WebP file.")


def encode_png(pixels: Image | Strips) -> bytes:
    """PNG file of uint8 pixels `[H,W]` (grey), `[H,W,3]` (RGB) or `[H,W,4]` (RGBA), 8 bits per channel.

    Each row is stored as its difference from the row above (PNG's filter "Up"), which deflates well and is
    one NumPy subtraction. With ISA-L a 12-megapixel matte takes 6 ms on one core.
    """
    height, width, channels = (*pixels.shape, 1)[:3]
    header = struct.pack(">IIBBBBB", width, height, 8, _PNG_COLOUR[channels], 0, 0, 0)
    strips = pixels.each() if isinstance(pixels, Strips) else iter((pixels,))
    body = _deflated((strip.reshape(len(strip), width * channels) for strip in strips), width * channels)
    return b"".join((_PNG_MAGIC, *_chunk(b"IHDR", header), *_chunk(b"IDAT", *body), *_chunk(b"IEND")))


class Compressor(Protocol):
    """What `zlib.compressobj` makes."""

    def compress(self, data: memoryview, /) -> bytes: ...
    def flush(self) -> bytes: ...


def choose_deflate() -> tuple[Callable[[], Compressor], Callable[[bytes | memoryview, int], int]]:
    """(compressor, crc32) from ISA-L where it is installed, else from zlib, which is some 8 times slower."""
    # Level 1 of each: ISA-L's level 3 took 5 times as long for a larger matte, level 2 made the same one.
    try:
        from isal import isal_zlib
    except ImportError:
        return partial(zlib.compressobj, level=1), zlib.crc32
    return partial(isal_zlib.compressobj, level=1), isal_zlib.crc32


_compressor, _crc32 = choose_deflate()


def _deflated(strips: Iterable[Image], width: int) -> Iterator[bytes]:
    """Rows uint8 `[h,width]`, width in bytes, filtered and compressed few at a time: they are in the core's cache
    still when they are compressed, and a picture's filtered twin is never whole in memory."""
    compressor = _compressor()
    buffer = np.empty((max(1, _PNG_STRIP // width), 1 + width), np.uint8)
    buffer[:, 0] = _PNG_UP
    above = np.zeros(width, np.uint8)
    for strip in strips:
        for top in range(0, len(strip), len(buffer)):
            rows = strip[top : top + len(buffer)]
            filtered = buffer[: len(rows)]
            np.subtract(rows[0], above, out=filtered[0, 1:])
            np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
            above[:] = rows[-1]  # The next strip may come in the same memory.
            yield compressor.compress(filtered.data.cast("B"))
    yield compressor.flush()


def _chunk(kind: bytes, *body: bytes) -> Iterator[bytes]:
    """Its length, kind, body in pieces, and checksum."""
    checksum = _crc32(kind, 0)
    for piece in body:
        checksum = _crc32(piece, checksum)
    yield struct.pack(">I", sum(map(len, body)))
    yield kind
    yield from body
    yield struct.pack(">I", checksum)


def _check_pixels(width: int, height: int, limit: int) -> None:
    if width * height > limit:
        raise TooManyPixels(
            f"The image has {width} x {height} = {width * height:,} pixels; at most {limit:,} are accepted."
        )
    if max(width, height) > SIDE_MAX:
        raise TooManyPixels(f"The image has {width} x {height} pixels; a side has at most {SIDE_MAX:,}.")


def _webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) from the first chunk of a WebP file, as RFC 9649 lays it out."""
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError("no WebP image chunk")


# Read without Pillow, whose WebP reader allocates the whole canvas when it opens a file, and whose PNG reader unpacks
# what the file carries beside its picture.
_SIZES: Final[dict[str, Callable[[bytes], tuple[int, int]]]] = {
    "PNG": file_checks.png_size,
    "WEBP": _webp_size,
}


def _orientation(block: bytes | None) -> int:
    """By EXIF alone: Pillow's own `getexif` falls back on XMP and on texts, which no browser does."""
    if block is None:
        return 1
    exif = PIL.Image.Exif()
    try:
        exif.load(block)
        return int(exif.get(_ORIENTATION, 1))
    except DECODER_ERRORS:
        return 1  # A photo with a broken EXIF block is still a photo.


def _plain_jpeg(data: bytes, size: tuple[int, int], reduction: int) -> Image | None:
    """Of a JPEG without anything odd, in half the time that Pillow takes to the same pixels; None: ask Pillow.

    CMYK, and whatever libjpeg would warn of, are Pillow's to judge: it takes stray bytes and refuses a file cut off.
    `size` is (width, height) by Pillow's reading of the header, which was checked: no other one is decoded.
    """
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        if (width, height) != size:
            return None
        least = {"min_height": -(-height // reduction), "min_width": -(-width // reduction)}
        smaller = least | {"min_factor": reduction} if reduction > 1 else {}
        return np.asarray(simplejpeg.decode_jpeg(data, "RGB", strict=True, **smaller), np.uint8)
    except ValueError:
        return None


def _to_rgb(opened: PIL.Image.Image) -> PIL.Image.Image:
    """Decode and convert. A truncated file raises: Pillow is left at its strict default."""
    opened.load()
    if opened.mode.startswith("I"):
        # Pillow's own conversion of 16-bit grey cuts off at 255 instead of scaling.
        levels = np.asarray(opened).astype(np.uint32)
        return PIL.Image.fromarray(((levels * 255 + 32_767) // 65_535).astype(np.uint8)).convert("RGB")
    if "A" in opened.getbands() or "transparency" in opened.info:
        over = opened.convert("RGBA")
        white = PIL.Image.new("RGBA", over.size, (255, 255, 255, 255))
        return PIL.Image.alpha_composite(white, over).convert("RGB")
    return opened if opened.mode == "RGB" else opened.convert("RGB")
