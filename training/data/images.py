"""Files to pixels: the one way in which training, validation, evaluation and inspection read pictures.

In: a path. Out: a photo as uint8 `[H,W,3]` RGB, or a decoded picture for `training.data.masks` to make a matte of;
or, without decoding, its measures. All of them are upright, as a viewer shows the file: EXIF's orientation is
applied.

Pillow decodes, because it refuses a file that is cut off, where OpenCV fills what lacks with grey. It notices no JPEG
that is overwritten in its middle; neither do OpenCV and TensorFlow.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

import cv2
import numpy as np
import PIL.Image
import simplejpeg
from numpy.typing import NDArray

from model.decoder_errors import DECODER_ERRORS
from training.data.findings import FindingKind

PHOTO_FORMATS: Final = ("JPEG", "PNG", "WEBP")
MASK_FORMATS: Final = (*PHOTO_FORMATS, "BMP", "TIFF")

Scalar = TypeVar("Scalar", np.uint8, np.uint16)

_ORIENTATION: Final = 0x0112
_SIDEWAYS: Final = frozenset({5, 6, 7, 8})
# From EXIF's orientation to what brings the stored pixels upright.
_UPRIGHT: Final[dict[int, Callable[[NDArray[Any]], NDArray[Any]]]] = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored),
}
_JPEG_MAGIC: Final = b"\xff\xd8\xff"
_PNG_END: Final = b"IEND\xaeB`\x82"  # TensorFlow's and OpenCV's decoders insist on all of it
_WEBP_HEAD: Final = 8  # bytes before what RIFF's length counts

# A data set's own photos may be as large as they like; and broken EXIF makes Pillow warn of every tag.
PIL.Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class DataError(ValueError):
    """Files of the data set cannot be used; the message names them."""


class ImageError(DataError):
    """A file is missing, cannot be decoded, or is not what it should be: `kind` says which, `reason` how."""

    def __init__(self, path: Path, reason: str, kind: FindingKind = FindingKind.UNREADABLE) -> None:
        super().__init__(path, reason, kind)  # what it is made of again in another process
        self.path, self.reason, self.kind = path, reason, kind

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What a file's header tells: `size` (height, width) of the upright picture, how many channels are stored, and
    EXIF's orientation (1 is upright)."""

    size: tuple[int, int]
    channels: int
    orientation: int


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A decoded picture as it is stored. `deep` are its 16-bit values where Pillow keeps only 8 of them: uint16
    `[H,W,C]` in the order RGBA."""

    picture: PIL.Image.Image
    orientation: int
    deep: NDArray[np.uint16] | None = None

    def upright(self, pixels: NDArray[Scalar]) -> NDArray[Scalar]:
        return upright(pixels, self.orientation)


def read_image(path: Path) -> NDArray[np.uint8]:
    """RGB uint8 `[H,W,3]`, upright. 16 bits become 8, transparent parts are laid over white, of an animation the
    first picture is taken: as the service does. Raises ImageError."""
    plain = _plain_jpeg(path)
    if plain is not None:
        return plain
    found = decode(path, PHOTO_FORMATS)
    return found.upright(_rgb(path, found.picture))


def read_header(path: Path, formats: tuple[str, ...]) -> ImageHeader:
    """By the header alone; a file that does not end as its format asks is decoded all the same. Raises ImageError."""
    with _named(path), path.open("rb") as file, PIL.Image.open(file, formats=formats) as opened:
        orientation = _orientation(opened)
        size = opened.size if orientation in _SIDEWAYS else opened.size[::-1]
        header = ImageHeader(size, _channels(opened), orientation)
        suspect = not _ends_well(file, opened.format)
    if suspect:
        decode(path, formats)
    return header


def decode(path: Path, formats: tuple[str, ...]) -> DecodedImage:
    """Read a file to its last pixel. Raises ImageError."""
    with _named(path):
        data = path.read_bytes()
        with PIL.Image.open(io.BytesIO(data), formats=formats) as opened:
            if opened.format == "PNG":
                _check_png(data)
            orientation = _orientation(opened)
            deep = _deep_pixels(data) if _is_deep(opened) and opened.mode in ("LA", "RGB", "RGBA") else None
            opened.load()
            return DecodedImage(opened, orientation, deep)


def upright(pixels: NDArray[Scalar], orientation: int) -> NDArray[Scalar]:
    """Stored pixels `[H,W]` or `[H,W,C]` turned as a viewer shows them."""
    turn = _UPRIGHT.get(orientation)
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))


def to_8_bits(deep: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """0…65535 to 0…255, to the nearest."""
    return ((deep.astype(np.uint32) + 128) // 257).astype(np.uint8)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Whatever a decoder raises becomes an ImageError that names the file."""
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(path, "no such file") from None
    except PIL.UnidentifiedImageError as error:
        reason = "not a picture in a format that is read here" if path.stat().st_size else "empty file"
        raise ImageError(path, reason) from error
    except (cv2.error, *DECODER_ERRORS) as error:
        # An OSError's own text would repeat the path.
        text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
        raise ImageError(path, text) from error


def _plain_jpeg(path: Path) -> NDArray[np.uint8] | None:
    """Of a JPEG without anything odd, in half the time that Pillow takes to the same pixels; None: ask Pillow, which
    knows how to read or to refuse it."""
    with _named(path):
        data = path.read_bytes()
        if not data.startswith(_JPEG_MAGIC):
            return None
        with PIL.Image.open(io.BytesIO(data), formats=("JPEG",)) as opened:
            orientation, mode, (width, height) = _orientation(opened), opened.mode, opened.size
        if mode not in ("L", "RGB"):
            return None
        try:
            pixels = simplejpeg.decode_jpeg(data, "RGB", strict=True)
        except ValueError:
            return None
    return upright(pixels, orientation) if pixels.shape == (height, width, 3) else None


def _rgb(path: Path, picture: PIL.Image.Image) -> NDArray[np.uint8]:
    if picture.mode.startswith("I;16"):
        grey = to_8_bits(np.asarray(picture, np.uint16))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if picture.mode in ("I", "F"):
        raise ImageError(path, "32 bits per value; save it with 8 or 16")
    if picture.has_transparency_data:
        over = picture.convert("RGBA")
        white = PIL.Image.new("RGBA", over.size, (255, 255, 255, 255))
        return np.asarray(PIL.Image.alpha_composite(white, over).convert("RGB"))
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _channels(opened: PIL.Image.Image) -> int:
    return 3 if opened.mode == "P" else len(opened.getbands())


def _is_deep(opened: PIL.Image.Image) -> bool:
    """Before decoding: Pillow makes 8 bits of 16-bit colour, and only the tile's raw mode tells."""
    modes = (tile[3] for tile in getattr(opened, "tile", ()))
    return any(";16" in str(mode[0] if isinstance(mode, tuple) else mode) for mode in modes)


def _deep_pixels(data: bytes) -> NDArray[np.uint16] | None:
    """By OpenCV, which reads blue first."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
        return None
    return np.asarray(pixels[:, :, [2, 1, 0, *range(3, pixels.shape[2])]], np.uint16)


def _check_png(data: bytes) -> None:
    with PIL.Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
        opened.verify()  # checksums, which decoding does not look at
    if _PNG_END not in data:
        raise EOFError("truncated after the last pixel")


def _ends_well(file: BinaryIO, format_: str | None) -> bool:
    """Whether the file's end is where a whole one has it; always for formats that do not tell."""
    length = file.seek(0, os.SEEK_END)
    if format_ == "WEBP":
        file.seek(4)
        return int.from_bytes(file.read(4), "little") + _WEBP_HEAD <= length
    file.seek(max(0, length - len(_PNG_END)))
    end = file.read()
    if format_ in ("JPEG", "MPO"):
        return end.endswith(b"\xff\xd9")
    return format_ != "PNG" or end == _PNG_END


def _orientation(opened: PIL.Image.Image) -> int:
    """EXIF's alone: XMP's, which Pillow would take where EXIF has none, turns no viewer's picture. Of a TIFF, whose
    own tag Pillow follows by itself, 1."""
    exif = PIL.Image.Exif()
    try:
        exif.load(opened.info.get("exif", b""))
        orientation = int(exif.get(_ORIENTATION, 1))
    except DECODER_ERRORS:
        return 1  # a photo with a broken EXIF block is still a photo
    return orientation if orientation in _UPRIGHT else 1


GREEN: Final = (0, 177, 64)


def on_green(image: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The photo through its matte over green."""
    share = alpha[:, :, None]
    return np.rint(image * share + np.array(GREEN) * (1 - share)).astype(np.uint8)


def as_grey(alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The matte itself: black 0, white 1."""
    return np.repeat(np.rint(alpha * 255).astype(np.uint8)[:, :, None], 3, axis=2)
