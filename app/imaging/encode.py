"""Finished pixels come in, the bytes of a file go out, in each of `app.options.Format`. Knows no HTTP."""

from __future__ import annotations

import io
import zipfile
from typing import Final

import cv2
import numpy as np
import PIL.Image
import simplejpeg

from app.errors import InvalidOption
from app.imaging.decode import encode_png
from app.imaging.tiles import Strips
from app.options import Format
from model.transforms import Image

JPEG_QUALITY: Final = 92
WEBP_QUALITY: Final = 90
WEBP_EFFORT: Final = 2  # of 6: 4 takes half as long again for files that are 3 % smaller
# Pixels of a side that the formats' own encoders take at the most. PNG takes more than a photo may have.
SIDE_MAX: Final = {Format.WEBP: 16_383, Format.JPG: 65_500, Format.ZIP: 65_500}
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # equal pictures make equal archives


def encode(pixels: Image | Strips, kind: Format) -> bytes:
    """uint8 `[H,W]` (grey), `[H,W,3]` (RGB) or `[H,W,4]` (RGBA). JPEG knows no alpha: it is left out.

    Raises InvalidOption if a side is longer than SIDE_MAX.
    """
    height, width = pixels.shape[:2]
    if kind in SIDE_MAX and max(height, width) > SIDE_MAX[kind]:
        raise InvalidOption(
            f"The answer has {width} x {height} pixels, and a side of `{kind}` at most {SIDE_MAX[kind]}: "
            "take `png` or a smaller `size`.",
            option="format",
        )
    if kind is Format.PNG:
        return encode_png(pixels)
    if isinstance(pixels, Strips):
        pixels = pixels.whole()
    if kind is Format.JPG:
        return _jpeg(pixels)
    if kind is Format.WEBP:
        return _webp(pixels)
    return _archive(pixels)


def _jpeg(pixels: Image) -> bytes:
    if pixels.ndim == 2:
        return bytes(simplejpeg.encode_jpeg(pixels[..., None], JPEG_QUALITY, "GRAY", "Gray"))
    colours = np.ascontiguousarray(pixels[..., :3])
    return bytes(simplejpeg.encode_jpeg(colours, JPEG_QUALITY, "RGB", "444"))


def _webp(pixels: Image) -> bytes:
    file = io.BytesIO()
    whole = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB) if pixels.ndim == 2 else pixels
    PIL.Image.fromarray(np.asarray(whole)).save(file, "WEBP", quality=WEBP_QUALITY, method=WEBP_EFFORT)
    return file.getvalue()


def _archive(pixels: Image) -> bytes:
    """color.jpg and alpha.png, as remove.bg's archives hold them."""
    alpha = (
        pixels[..., 3]
        if pixels.ndim == 3 and pixels.shape[2] == 4
        else np.full(pixels.shape[:2], 255, np.uint8)
    )
    files = {"color.jpg": _jpeg(pixels), "alpha.png": encode_png(np.ascontiguousarray(alpha))}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)
    return file.getvalue()
