"""A photo, as the caller has it, comes in; the bytes of a file go out. Knows no connection.

Files are sent as they are. Arrays and Pillow's pictures are packed as PNG, so that no pixel changes. NumPy and Pillow
need not be installed: who has such a photo has imported them. Addresses are never fetched.
"""

from __future__ import annotations

import io
import os
import re
import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, TypeAlias, cast

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray

FILE: Final = "application/octet-stream"  # The service looks at the bytes alone.
PNG: Final = "image/png"

Photo: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | NDArray[np.uint8] | PIL.Image.Image | Pixels"  # fmt: skip # noqa: E501
"""A picture: the path of its file, its bytes, a file that is open for reading in binary, an array (uint8 `[H,W]`,
`[H,W,3]` RGB or `[H,W,4]` RGBA; in another order see `Pixels`), or a picture of Pillow's."""

# `//` has become `/` where it was made a path. One letter is a drive of Windows.
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]+:/|data:", re.IGNORECASE)
_COLOUR_TYPES: Final = {1: 0, 3: 2, 4: 6}  # PNG's, by channels: grey, RGB, RGBA
_UP: Final = 2  # PNG's filter: each row as the difference from the one above
_AS_THEY_ARE: Final = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})  # modes that PNG knows
_WITH_ALPHA: Final = {"RGBa": "RGBA", "La": "LA", "PA": "RGBA"}  # the same, as PNG stores alpha
_OF_NO_SCALE: Final = frozenset({"I", "F"})  # nobody knows which value is white


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """An array whose order of colours is said: `Pixels(frame, channels="BGR")` for OpenCV's. Alpha, if there is one,
    is the fourth channel of both. Raises ValueError for another order."""

    array: NDArray[np.uint8]
    channels: Literal["RGB", "BGR"] = "RGB"

    def __post_init__(self) -> None:
        if self.channels not in ("RGB", "BGR"):
            raise ValueError(f'channels is "RGB" or "BGR", not {self.channels!r}')


def read_photo(photo: Photo) -> tuple[bytes, str]:
    """All bytes of a photo's file, and their content type.

    Raises OSError for a file that cannot be read, TypeError and ValueError for what is no photo, such as an array of
    another type or shape, and for addresses.
    """
    if isinstance(photo, bytes | bytearray | memoryview):
        return bytes(photo), FILE
    if isinstance(photo, str | os.PathLike):
        return _read_path(os.fspath(photo)), FILE
    if isinstance(photo, Pixels):
        return _png(_checked(photo.array), bgr=photo.channels == "BGR"), PNG
    if _is_a(photo, "numpy", "ndarray"):
        return _png(_checked(photo), bgr=False), PNG
    if _is_a(photo, "PIL.Image", "Image"):
        return _png_of_picture(cast("PIL.Image.Image", photo)), PNG
    return _read_file(photo), FILE


def _is_a(photo: Any, module: str, name: str) -> bool:
    """Whether it is of that class of a module that may not be installed. Where such an object is, it is loaded."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(photo, getattr(loaded, name))


def _read_path(path: str) -> bytes:
    if _URL.match(path):
        shown = path if len(path) <= 60 else f"{path[:60]}…"
        raise ValueError(f"{shown!r} is an address: nothing is fetched from there; pass the picture's bytes")
    return Path(path).read_bytes()


def _read_file(file: Any) -> bytes:
    if not hasattr(file, "read"):
        kind = f"{type(file).__module__}.{type(file).__qualname__}".removeprefix("builtins.")
        raise TypeError(
            "a photo is a path, bytes, a file opened in binary mode, a NumPy array or a picture of Pillow's, "
            f"not {kind}"
        )
    data = file.read()
    if not isinstance(data, bytes):
        raise TypeError('a picture\'s file must be opened in binary mode: open(path, "rb")')
    return data


def _checked(array: Any) -> NDArray[np.uint8]:
    """The array as `[H,W,C]`, with 1, 3 or 4 channels. Raises TypeError or ValueError."""
    if not _is_a(array, "numpy", "ndarray"):
        raise TypeError(f"pixels are a NumPy array, not {type(array).__qualname__}")
    if array.dtype != "uint8":
        raise TypeError(f"an array of pixels is uint8, 0 to 255; this one is {array.dtype}")
    pixels = array[..., None] if array.ndim == 2 else array
    if pixels.ndim != 3 or pixels.shape[2] not in _COLOUR_TYPES or not pixels.size:
        shape = " x ".join(map(str, array.shape))
        raise ValueError(
            f"an array of pixels is height x width, with 3 channels (RGB), 4 (RGBA) or none; this one is {shape}"
        )
    checked: NDArray[np.uint8] = pixels
    return checked


def _png(pixels: NDArray[np.uint8], *, bgr: bool) -> bytes:
    """Lossless, and quick rather than small."""
    height, width, channels = pixels.shape
    if bgr and channels > 1:
        pixels = pixels[..., [2, 1, 0, 3][:channels]]
    rows = pixels.reshape(height, width * channels)
    differences = rows.copy()
    differences[1:] -= rows[:-1]  # Around 256, as PNG has it.
    packer = zlib.compressobj(1)
    body = [packer.compress(bytes([_UP]) + row.tobytes()) for row in differences]
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    image = b"".join([*body, packer.flush()])
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", image) + _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png_of_picture(picture: PIL.Image.Image) -> bytes:
    """Upright, as its file would be seen, and with its colour profile. Raises ValueError."""
    from PIL import ImageOps

    if picture.mode in _OF_NO_SCALE:
        raise ValueError(f'a picture of mode {picture.mode} has no white: convert it to "RGB" or "L" first')
    upright = ImageOps.exif_transpose(picture)
    profile = picture.info.get("icc_profile")
    if (same := _WITH_ALPHA.get(upright.mode)) is not None:
        upright = upright.convert(same)
    elif upright.mode not in _AS_THEY_ARE:
        upright = upright.convert("RGB")
        profile = None  # It was of the other colours.
    file = io.BytesIO()
    upright.save(file, "PNG", compress_level=1, icc_profile=profile)
    return file.getvalue()
