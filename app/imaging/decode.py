"""Bytes of a photo come in, upright RGB pixels go out. Knows no HTTP.

The header is checked before anything is decoded: format by its magic bytes, size in pixels. Nothing survives but the
pixels, their colour profile and their density: output is built from arrays, so no EXIF and no comment is in it.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
import PIL.AvifImagePlugin
import PIL.Image
import pillow_heif
import simplejpeg

from app.errors import TooManyPixels, UnreadableImage, UnsupportedType
from app.imaging import bmp_file, colour, file_checks, gif_file, heif_file, tiff_file
from app.imaging.picture_file import Density, PictureFile, density
from app.imaging.png_writer import crc32
from model.decoder_errors import DECODER_ERRORS
from model.transforms import Image

# The limit is ours (`max_pixels`, checked right after the header), so Pillow's own guess is switched off.
PIL.Image.MAX_IMAGE_PIXELS = None
# Broken EXIF makes Pillow warn, of each tag in its own words: one photo could fill the log with thousands of lines.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

# One picture, one thread: the service has a thread for each of its cores already.
PIL.AvifImagePlugin.DEFAULT_MAX_THREADS = 1
pillow_heif.options.DECODE_THREADS = 1

KINDS: Final = ("JPEG", "PNG", "WEBP", "HEIC", "AVIF", "TIFF", "BMP", "GIF")
"""Formats, as Pillow calls them, or as people do."""
_NAMES: Final = {"WEBP": "WebP"}
# Read without a decoder, which is given the picture alone, in a file that is written anew.
_READERS: Final[dict[str, Callable[[bytes], PictureFile]]] = {
    "HEIC": heif_file.read,
    "AVIF": heif_file.read,
    "TIFF": tiff_file.read,
    "BMP": bmp_file.read,
    "GIF": gif_file.read,
}
# Bytes for each pixel while one of these is decoded, without and with alpha: planes, RGB, Pillow's own copy of it,
# and of white under it. Most that 38 megapixels of each format took were 11 and 20.
DECODER_BYTES: Final = (12, 20)

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
_HEIC_MODES: Final = frozenset({"RGB", "RGBA", "L", "LA"})
_OTHER_SIZE: Final = "a picture of another size or kind than its file says"
# Tags of EXIF, and what its and JFIF's numbers of units mean.
_ACROSS: Final = 0x011A
_DOWN: Final = 0x011B
_EXIF_UNIT: Final = 0x0128
_EXIF_UNITS: Final = {2: "inch", 3: "cm"}
_UNITS: Final = {1: "inch", 2: "cm"}


@dataclass(frozen=True, slots=True)
class Photo:
    """`image`: upright RGB uint8 `[H,W,3]`, maybe reduced, in its own colours; `size`: the photo's upright height and
    width. `profile`: ICC, of RGB, usable; None is sRGB. `frames`: how many pictures the file holds."""

    image: Image
    size: tuple[int, int]
    profile: bytes | None = field(default=None, repr=False)
    density: Density | None = None
    frames: int = 1


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a photo before it is decoded. `decoder_bytes`: what its decoder takes for each pixel, where
    that is more than the picture."""

    kind: str
    width: int
    height: int
    decoder_bytes: int = 0

    @property
    def pixels(self) -> int:
        return self.width * self.height


def decode_image(data: bytes, *, max_pixels: int) -> Image:
    """Decode a file of one of KINDS to an upright image uint8 `[H,W,3]` RGB.

    The orientation that EXIF says is applied, and, as in browsers, no other one; in HEIC and AVIF their boxes say it.
    Palettes become RGB, 16 bits become 8, transparent parts are laid over white, of several pictures the first one is
    taken. Grey and CMYK become sRGB, by their colour profiles where they have any.
    Raises UnsupportedType, TooManyPixels or UnreadableImage.
    """
    return decode_photo(data, max_pixels=max_pixels).image


def decode_photo(
    data: bytes, *, max_pixels: int, reduction: Callable[[int, int], int] = lambda _height, _width: 1
) -> Photo:
    """`decode_image`, and what else the file says of its picture. A JPEG comes as many times smaller as `reduction`
    of its upright height and width says, 1 or 2, its sides rounded up: so it takes three quarters of the time."""
    kind = sniff(data)
    file_checks.check_parts(kind, data)
    try:
        if kind in _READERS:
            return _decode_rewritten(kind, _READERS[kind](data), max_pixels)
        if kind in _SIZES:
            _check_pixels(*_SIZES[kind](data), max_pixels)
        picture, exif = file_checks.png_picture(data, crc32) if kind == "PNG" else (data, None)
        with PIL.Image.open(io.BytesIO(picture), formats=[kind]) as opened:
            _check_pixels(*opened.size, max_pixels)
            if not file_checks.is_whole(kind, data, crc32):
                raise EOFError
            if kind == "JPEG":
                file_checks.check_scans(data)
            block = _exif(exif or opened.info.get("exif"))
            orientation = int(_number(block, _ORIENTATION, 1))
            width, height = opened.size[::-1] if orientation in _SIDEWAYS else opened.size
            profile = _png_profile(data) if kind == "PNG" else opened.info.get("icc_profile")
            pixels, profile = _pixels(kind, data, opened, reduction(height, width), profile)
            dots = _density(kind, data, opened, block)
            return _upright(pixels, (height, width), orientation, profile, dots, _frames(kind, data, opened))
    except MemoryError:
        raise  # Nothing is wrong with the photo: its size was checked.
    except DECODER_ERRORS:
        raise UnreadableImage(f"The {kind} file is truncated or damaged.") from None


def read_header(data: bytes, *, max_pixels: int, kinds: Collection[str] = KINDS) -> Header:
    """By its first bytes; nothing is decoded. `kinds`: those that are taken. Raises as `decode_image` does."""
    kind = sniff(data, kinds)
    file_checks.check_parts(kind, data)
    try:
        if kind in _READERS:
            picture = _READERS[kind](data)
            _check_picture(picture, max_pixels)
            return Header(kind, picture.width, picture.height, DECODER_BYTES[picture.transparent])
        if kind in _SIZES:
            width, height = _SIZES[kind](data)
        else:
            with PIL.Image.open(io.BytesIO(data), formats=[kind]) as opened:
                width, height = opened.size
    except DECODER_ERRORS:
        raise UnreadableImage(f"The {kind} file is truncated or damaged.") from None
    _check_pixels(width, height, max_pixels)
    return Header(kind, width, height)


def sniff(data: bytes, kinds: Collection[str] = KINDS) -> str:
    """The format by its magic bytes, one of `kinds`. Raises UnsupportedType for anything else."""
    kind = file_checks.kind_of(data)
    if kind is not None and kind in kinds:
        return kind
    *most, last = (_NAMES.get(each, each) for each in KINDS if each in kinds)
    taken = f"{', '.join(most)} or {last}" if most else last
    raise UnsupportedType(f"The image must be a {taken} file.")


def _decode_rewritten(kind: str, picture: PictureFile, max_pixels: int) -> Photo:
    _check_picture(picture, max_pixels)
    with _opened(kind, picture) as opened:
        stored, profile = _to_rgb(opened, picture.profile)
        pixels = np.asarray(stored)
    if picture.crop:
        pixels = np.ascontiguousarray(pixels[picture.crop])
    size = picture.height, picture.width
    size = size[::-1] if picture.orientation in _SIDEWAYS else size
    dots = picture.density or _exif_density(_exif(picture.exif))
    return _upright(pixels, size, picture.orientation, profile, dots, picture.frames)


def _opened(kind: str, picture: PictureFile) -> PIL.Image.Image:
    """Raises ValueError where the decoder sees another size than the file says."""
    if kind == "HEIC":
        return _opened_heic(picture)
    opened = PIL.Image.open(io.BytesIO(picture.data), formats=[kind])
    if opened.size != picture.decoded_size:
        raise ValueError(_OTHER_SIZE)
    return opened


def _opened_heic(picture: PictureFile) -> PIL.Image.Image:
    heic = pillow_heif.open_heif(picture.data)
    if heic.size != picture.decoded_size or heic.mode not in _HEIC_MODES:
        raise ValueError(_OTHER_SIZE)
    pixels = heic.data
    if heic.size != picture.decoded_size:  # The picture's own, which shows only now.
        raise ValueError(_OTHER_SIZE)
    return PIL.Image.frombuffer(heic.mode, heic.size, pixels, "raw", heic.mode, heic.stride, 1)


def _upright(
    pixels: Image,
    size: tuple[int, int],
    orientation: int,
    profile: bytes | None,
    dots: Density | None,
    frames: int,
) -> Photo:
    turned = _UPRIGHT.get(orientation)
    if dots is not None and orientation in _SIDEWAYS:
        dots = dots[1], dots[0]
    return Photo(pixels if turned is None else turned(pixels), size, profile, dots, frames)


def _check_pixels(width: int, height: int, limit: int) -> None:
    if width * height > limit:
        raise TooManyPixels(
            f"The image has {width} x {height} = {width * height:,} pixels; at most {limit:,} are accepted."
        )
    if max(width, height) > SIDE_MAX:
        raise TooManyPixels(f"The image has {width} x {height} pixels; a side has at most {SIDE_MAX:,}.")


def _check_picture(picture: PictureFile, limit: int) -> None:
    """What is shown, and what is decoded, where that is more than padding."""
    _check_pixels(picture.width, picture.height, limit)
    width, height = picture.decoded_size
    if max(width - picture.width, height - picture.height) > heif_file.CODED_MORE:
        _check_pixels(width, height, limit)


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


def _exif(block: bytes | None) -> PIL.Image.Exif | None:
    """EXIF alone: Pillow's own `getexif` falls back on XMP and on texts, which no browser does."""
    if block is None:
        return None
    exif = PIL.Image.Exif()
    try:
        exif.load(block)
    except DECODER_ERRORS:
        return None  # A photo with a broken EXIF block is still a photo.
    return exif


def _number(exif: PIL.Image.Exif | None, tag: int, default: float) -> float:
    """What a tag holds, as far as it is a number."""
    try:
        value = default if exif is None else float(exif.get(tag, default))
    except DECODER_ERRORS:
        return default
    return value if math.isfinite(value) else default


def _density(kind: str, data: bytes, opened: PIL.Image.Image, exif: PIL.Image.Exif | None) -> Density | None:
    """Of a PNG by its pHYs, of a JPEG by its JFIF header, else by EXIF."""
    if kind == "PNG":
        body = file_checks.png_chunk(data, b"pHYs", crc32) or b""
        if len(body) == 9 and body[8] == 1:
            across, down = struct.unpack_from(">II", body)
            return density(across, down, "m")
    unit = _UNITS.get(opened.info.get("jfif_unit", 0))
    if unit is not None:
        across, down = opened.info["jfif_density"]
        return density(across, down, unit)
    return _exif_density(exif)


def _exif_density(exif: PIL.Image.Exif | None) -> Density | None:
    unit = _EXIF_UNITS.get(int(_number(exif, _EXIF_UNIT, 2)))
    return None if unit is None else density(_number(exif, _ACROSS, 0), _number(exif, _DOWN, 0), unit)


def _frames(kind: str, data: bytes, opened: PIL.Image.Image) -> int:
    """Of an animation, as its file says."""
    if kind == "WEBP":
        return int(getattr(opened, "n_frames", 1))
    body = file_checks.png_chunk(data, b"acTL", crc32) if kind == "PNG" else None
    frames = int.from_bytes(body[:4]) if body else 1
    return frames if 1 <= frames <= file_checks.CHUNKS_MAX else 1


def _png_profile(data: bytes) -> bytes | None:
    """None also where the file says that its colours are sRGB's."""
    body = file_checks.png_chunk(data, b"iCCP", crc32)
    if body is None or file_checks.png_chunk(data, b"sRGB", crc32) is not None:
        return None
    return colour.unpacked(body)


def _pixels(
    kind: str, data: bytes, opened: PIL.Image.Image, reduction: int, profile: bytes | None
) -> tuple[Image, bytes | None]:
    """As they are stored, and their profile, if that is one of RGB and not sRGB's."""
    if kind == "JPEG" and opened.mode in ("L", "RGB"):
        usable = colour.usable(profile, opened.mode)
        pixels = _plain_jpeg(data, opened.size, reduction)
        if pixels is not None and (usable is None or opened.mode == "RGB"):
            return pixels, usable
        if pixels is not None and usable is not None:
            grey = PIL.Image.fromarray(np.ascontiguousarray(pixels[..., 0]))
            return np.asarray(colour.to_rgb(grey, usable)), None
    stored, profile = _to_rgb(opened, profile)
    return np.asarray(stored), profile


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


def _to_rgb(opened: PIL.Image.Image, profile: bytes | None) -> tuple[PIL.Image.Image, bytes | None]:
    """Decode and convert; and the pixels' profile, as `_pixels` gives it. A truncated file raises: Pillow is left at
    its strict default."""
    opened.load()
    if opened.mode.startswith("I"):
        # Pillow's own conversion of 16-bit grey cuts off at 255 instead of scaling.
        levels = np.asarray(opened).astype(np.uint32)
        grey = PIL.Image.fromarray(((levels * 255 + 32_767) // 65_535).astype(np.uint8))
        return _to_rgb(grey, profile)
    space = {"1": "L", "LA": "L", "CMYK": "CMYK"}.get(opened.mode, opened.mode)
    usable = colour.usable(profile, space if space in ("L", "CMYK") else "RGB")
    if usable is not None and opened.mode == "CMYK":
        return colour.to_rgb(opened, usable), None
    if "A" in opened.getbands() or "transparency" in opened.info:
        over = opened.convert("RGBA")
        white = PIL.Image.new("RGBA", over.size, (255, 255, 255, 255))
        rgb = PIL.Image.alpha_composite(white, over).convert("RGB")
    else:
        rgb = opened if opened.mode == "RGB" else opened.convert("RGB")
    if usable is not None and space == "L":
        return colour.to_rgb(rgb.getchannel(0), usable), None
    return rgb, usable if space != "CMYK" else None
