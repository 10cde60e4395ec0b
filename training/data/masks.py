"""The matte that a mask file means: uint8 `[H,W]`, 0 is background, 255 opaque, upright as its photo.

In: a path. Out: the matte, where the file can mean only one; anything else is refused by an ImageError that says why,
instead of training for hours on a guess. Taken are grey of 1, 8 or 16 bits; colour or a palette that is grey
throughout; and an alpha channel beside a constant colour, or beside the same grey.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from training.data.findings import FindingKind
from training.data.images import MASK_FORMATS, DecodedImage, ImageError, decode, read_image, to_8_bits

Pixels = NDArray[np.uint8]

ROUNDING: Final = 8  # levels of 255 by which lossy compression parts channels that were equal
VISIBLE_FROM: Final = 16  # alpha: below, the colour of a pixel is what rounding left of it


@dataclass(frozen=True, slots=True)
class _Layers:
    """`colour` `[H,W,1 or 3]`, and `alpha` `[H,W]` where the file has one; `largest` is the colour's largest value as
    it is stored, of 255 or 65535."""

    colour: Pixels
    alpha: Pixels | None
    largest: int
    deep: bool = False

    @property
    def grey(self) -> Pixels | None:
        """`[H,W]`, None where red, green and blue differ."""
        if self.colour.shape[2] == 1:
            return self.colour[:, :, 0]
        green = self.colour[:, :, 1]
        if all(_alike(self.colour[:, :, other], green) for other in (0, 2)):
            return green
        return None


def read_alpha(path: Path) -> NDArray[np.float32]:
    """A mask as float32 `[H,W]` in 0..1. Raises ImageError."""
    return read_alpha_bytes(path).astype(np.float32) / np.float32(255)


def read_alpha_bytes(path: Path) -> Pixels:
    """A mask as uint8 `[H,W]`. Raises ImageError for a file that can be meant in more ways than one."""
    layers = _read(path)
    matte, by_alpha = _matte(path, layers)
    if not by_alpha and (layers.largest == 1 or (layers.deep and 0 < layers.largest <= 255)):
        what = "no value is above 1; multiply by 255"
        if layers.deep:
            what = f"16 bits, but no value is above {layers.largest}"
        raise ImageError(path, what, FindingKind.SCALE)
    return matte


def read_trimap(path: Path) -> Pixels:
    """A trimap as uint8 `[H,W]`, whatever its values. Raises ImageError."""
    return _matte(path, _read(path))[0]


def read_prediction(path: Path) -> Pixels:
    """Any tool's matte as uint8 `[H,W]`: of a cut-out its alpha channel, whatever the colours beside it. Raises
    ImageError."""
    layers = _read(path)
    if layers.alpha is not None and not _is_constant(layers.alpha):
        return layers.alpha
    return _matte(path, layers)[0]


def read_portrait(image: Path, alpha: Path) -> tuple[Pixels, Pixels]:
    """A pair's photo `[H,W,3]` and mask `[H,W]`. Raises ImageError, also where their sizes differ."""
    photo, matte = read_image(image), read_alpha_bytes(alpha)
    if photo.shape[:2] != matte.shape:
        raise ImageError(alpha, sizes_differ("mask", matte.shape, photo.shape[:2]), FindingKind.SIZE_MISMATCH)
    return photo, matte


def sizes_differ(name: str, size: tuple[int, ...], photo: tuple[int, ...], orientation: int = 1) -> str:
    """Both (height, width) in words; `orientation` is the photo's."""
    shown = f"image {photo[0]}×{photo[1]}, {name} {size[0]}×{size[1]} (height × width)"
    if size == photo[::-1] and orientation != 1:
        shown += f"; the photo is turned upright (EXIF orientation {orientation}), the {name} is not"
    return shown


def _matte(path: Path, layers: _Layers) -> tuple[Pixels, bool]:
    """The one matte that `layers` can mean, and whether it is their alpha channel."""
    grey, alpha = layers.grey, layers.alpha
    if alpha is None or _is_constant(alpha):
        if grey is None:
            raise ImageError(path, "it is in colour: red, green and blue differ", FindingKind.COLOURED)
        if alpha is not None and _is_constant(grey) and alpha[0, 0] not in (grey[0, 0], 255):
            raise ImageError(path, "transparent and of one colour throughout", FindingKind.UNCLEAR)
        return grey, False
    if grey is not None and _alike(grey, alpha):
        return alpha, True
    seen = layers.colour[alpha >= VISIBLE_FROM]
    if not len(seen) or bool((np.ptp(seen, axis=0) <= ROUNDING).all()):
        return alpha, True
    if grey is None:
        raise ImageError(
            path, "it is a cut-out in colour; save its alpha channel alone", FindingKind.COLOURED
        )
    raise ImageError(
        path, "its grey values and its alpha channel are two different mattes", FindingKind.UNCLEAR
    )


def _alike(one: Pixels, other: Pixels) -> bool:
    return bool(cv2.absdiff(one, other).max() <= ROUNDING)


def _is_constant(layer: Pixels) -> bool:
    return bool((layer == layer[0, 0]).all())


def _read(path: Path) -> _Layers:
    found = decode(path, MASK_FORMATS)
    if found.deep is not None:
        return _deep_layers(found, found.deep)
    picture = found.picture
    if picture.mode.startswith("I;16"):
        return _deep_layers(found, np.asarray(picture, np.uint16)[:, :, None])
    if picture.mode in ("I", "F"):
        raise ImageError(path, "32 bits per value; save it with 8 or 16", FindingKind.UNCLEAR)
    return _plain_layers(found, picture)


def _deep_layers(found: DecodedImage, pixels: NDArray[np.uint16]) -> _Layers:
    """Of `[H,W,C]`: grey, grey and alpha, colour, or colour and alpha."""
    colours = pixels.shape[2] - (pixels.shape[2] in (2, 4))
    stored = pixels[:, :, :colours]
    plain = found.upright(to_8_bits(pixels))
    alpha = plain[:, :, -1] if colours < pixels.shape[2] else None
    return _Layers(plain[:, :, :colours], alpha, int(stored.max()), deep=True)


def _plain_layers(found: DecodedImage, picture: PIL.Image.Image) -> _Layers:
    """A palette counts by its colours, and one bit per pixel means 0 and 255. A colour declared transparent in a file
    without alpha channel says nothing that the colour itself does not."""
    indexed = picture.mode in ("P", "PA")
    if "A" in picture.getbands() or (indexed and "transparency" in picture.info):
        channels = found.upright(np.asarray(picture.convert("RGBA")))
        colour, alpha = channels[:, :, :3], channels[:, :, 3]
        return _Layers(colour, alpha, int(colour.max()))
    mode = "L" if picture.mode in ("1", "L") else "RGB"
    pixels = found.upright(np.asarray(picture if picture.mode == mode else picture.convert(mode)))
    colour = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return _Layers(colour, None, int(colour.max()))
