"""Drawn test pictures and their files: no photo of a person is needed to test a codec or a queue."""

from __future__ import annotations

import io

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

Image = NDArray[np.uint8]

ORIENTATION = 0x0112


def portrait(height: int = 60, width: int = 80) -> Image:
    """Head and shoulders before a gradient, uint8 RGB `[height,width,3]`; no symmetry, so that turns show."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = y / height, x / width
    picture = np.stack((50 + 80 * x, 120 + 60 * y, 160 - 60 * x), axis=-1)
    picture[(x - 0.5) ** 2 / 0.12 + (y - 1.0) ** 2 / 0.16 < 1] = (40, 50, 90)
    picture[(x - 0.45) ** 2 / 0.03 + (y - 0.35) ** 2 / 0.05 < 1] = (215, 170, 140)
    return picture.astype(np.uint8)


def plain(value: int, height: int = 24, width: int = 36) -> Image:
    """One grey value everywhere, uint8 RGB `[height,width,3]`."""
    return np.full((height, width, 3), value, np.uint8)


def png(image: Image) -> bytes:
    """Lossless file of an RGB image."""
    done, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert done
    return data.tobytes()


def saved(image: Image | PIL.Image.Image, kind: str, **options: object) -> bytes:
    """File as Pillow writes it."""
    buffer = io.BytesIO()
    picture = image if isinstance(image, PIL.Image.Image) else PIL.Image.fromarray(image)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(image: Image, *, orientation: int | None = None, progressive: bool = False) -> bytes:
    """Fine-quality JPEG, with an EXIF orientation if one is given."""
    exif = PIL.Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    return saved(image, "JPEG", quality=95, subsampling=0, exif=exif, progressive=progressive)


def pixels(data: bytes) -> Image:
    """Decode any file as it is stored: `[H,W]` or `[H,W,C]`."""
    return np.array(PIL.Image.open(io.BytesIO(data)))
