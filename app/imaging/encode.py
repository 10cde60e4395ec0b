"""Finished pixels come in, the bytes of a file go out, in each of `app.options.Format`. Knows no HTTP."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np
import PIL.Image
import simplejpeg
from PIL import ExifTags

from app.errors import InvalidOption
from app.imaging.picture_file import Density
from app.imaging.png_writer import encode_png
from app.imaging.tiles import Strips
from app.options import Format
from model.transforms import Image

JPEG_QUALITY: Final = 92
WEBP_QUALITY: Final = 90
WEBP_EFFORT: Final = 2  # of 6: 4 takes half as long again for files that are 3 % smaller
AVIF_QUALITY: Final = 80
# Of 0 to 10, the fastest: 12 megapixels take 1.9 s, at 8 3.9 s for files that are 1 % smaller.
AVIF_EFFORT: Final = 9
_KINDS: Final = {Format.WEBP: "WEBP", Format.AVIF: "AVIF"}
_OPTIONS: Final[dict[Format, dict[str, object]]] = {
    Format.WEBP: {"quality": WEBP_QUALITY, "method": WEBP_EFFORT},
    Format.AVIF: {"quality": AVIF_QUALITY, "speed": AVIF_EFFORT, "max_threads": 1},
}
_JFIF_END: Final = 20
_PART_MAX: Final = 65_519
_INCH: Final = 2
# Pixels of a side that the formats' own encoders take at the most. PNG takes more than a photo may have.
SIDE_MAX: Final = {Format.WEBP: 16_383, Format.AVIF: 16_383, Format.JPG: 65_500, Format.ZIP: 65_500}
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # equal pictures make equal archives


def encode(
    pixels: Image | Strips, kind: Format, *, profile: bytes | None = None, dots: Density | None = None
) -> bytes:
    """uint8 `[H,W]` (grey), `[H,W,3]` (RGB) or `[H,W,4]` (RGBA). JPEG knows no alpha: it is left out.

    `profile`: ICC, of the colours; grey has none. `dots`: the density. Raises InvalidOption if a side is longer than
    SIDE_MAX.
    """
    height, width = pixels.shape[:2]
    if kind in SIDE_MAX and max(height, width) > SIDE_MAX[kind]:
        raise InvalidOption(
            f"The answer has {width} x {height} pixels, and a side of `{kind}` at most {SIDE_MAX[kind]}: "
            "take `png` or a smaller `size`.",
            option="format",
        )
    if len(pixels.shape) == 2:
        profile = None
    if kind is Format.PNG:
        return encode_png(pixels, profile=profile, dots=dots)
    if isinstance(pixels, Strips):
        pixels = pixels.whole()
    if kind is Format.JPG:
        return _jpeg(pixels, profile, dots)
    if kind is Format.ZIP:
        return _archive(pixels, profile, dots)
    return _by_pillow(pixels, kind, profile, dots)


def _jpeg(pixels: Image, profile: bytes | None, dots: Density | None) -> bytes:
    if pixels.ndim == 2:
        data = bytes(simplejpeg.encode_jpeg(pixels[..., None], JPEG_QUALITY, "GRAY", "Gray"))
    else:
        colours = np.ascontiguousarray(pixels[..., :3])
        data = bytes(simplejpeg.encode_jpeg(colours, JPEG_QUALITY, "RGB", "444"))
    if profile is None and dots is None:
        return data
    # libjpeg writes JFIF's header first, up to _JFIF_END and without a density.
    across, down = (round(each) for each in dots or (1, 1))
    header = struct.pack(
        ">HHH5sHBHHBB", 0xFFD8, 0xFFE0, 16, b"JFIF\0", 0x0101, dots is not None, across, down, 0, 0
    )
    return b"".join((header, *_profile_segments(profile or b""), data[_JFIF_END:]))


def _profile_segments(profile: bytes) -> Iterator[bytes]:
    """ICC.1:2022, annex B.4. Of at most 255 parts, which PROFILE_MAX stays below."""
    parts = [profile[at : at + _PART_MAX] for at in range(0, len(profile), _PART_MAX)]
    for number, part in enumerate(parts, 1):
        yield struct.pack(">HH12sBB", 0xFFE2, 16 + len(part), b"ICC_PROFILE\0", number, len(parts)) + part


def _by_pillow(pixels: Image, kind: Format, profile: bytes | None, dots: Density | None) -> bytes:
    whole = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB) if pixels.ndim == 2 else pixels
    said: dict[str, object] = {} if profile is None else {"icc_profile": profile}
    if dots is not None:
        exif = PIL.Image.Exif()
        exif[ExifTags.Base.XResolution], exif[ExifTags.Base.YResolution] = dots
        exif[ExifTags.Base.ResolutionUnit] = _INCH
        said["exif"] = exif.tobytes()
    file = io.BytesIO()
    PIL.Image.fromarray(np.asarray(whole)).save(file, _KINDS[kind], **_OPTIONS[kind], **said)
    return file.getvalue()


def _archive(pixels: Image, profile: bytes | None, dots: Density | None) -> bytes:
    """color.jpg and alpha.png, as remove.bg's archives hold them."""
    alpha = (
        pixels[..., 3]
        if pixels.ndim == 3 and pixels.shape[2] == 4
        else np.full(pixels.shape[:2], 255, np.uint8)
    )
    files = {
        "color.jpg": _jpeg(pixels, profile, dots),
        "alpha.png": encode_png(np.ascontiguousarray(alpha), dots=dots),
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)
    return file.getvalue()
