"""The header of a BMP file comes in, what it says goes out. Knows no decoder."""

from __future__ import annotations

import struct
from typing import Final

from app.errors import UnsupportedType
from app.imaging.picture_file import PictureFile, density

_CORE: Final = 12  # bytes of OS/2's header
_HEADERS: Final = frozenset({_CORE, 40, 52, 56, 64, 108, 124})
_V5: Final = 124
_START: Final = 14  # where it begins
_EMBEDDED: Final = b"DEBM"
_PLAIN, _MASKS = 0, 3
# Pillow unfolds runs in Python, a byte at a time: a file of 1 MB may keep it busy for a minute.
_RUNS: Final = frozenset({1, 2})
_DEPTH_OF_ALPHA: Final = 32
_DEPTHS: Final = frozenset({1, 4, 8, 16, 24, 32})


def is_bmp(data: bytes) -> bool:
    return data[:2] == b"BM" and int.from_bytes(data[_START : _START + 4], "little") in _HEADERS


def read(data: bytes) -> PictureFile:
    """Raises UnsupportedType where it is run-length coded, ValueError and its kin where it is damaged or cut off."""
    (pixels_at, header) = struct.unpack_from("<II", data, 10)
    if header == _CORE:
        width, height, _planes, depth = struct.unpack_from("<HHHH", data, _START + 4)
        coding, across, down = _PLAIN, 0, 0
    else:
        width, height, _planes, depth = struct.unpack_from("<iiHH", data, _START + 4)
        coding, _size, across, down = struct.unpack_from("<IIii", data, _START + 16)
    if coding in _RUNS:
        raise UnsupportedType(
            "The BMP file is run-length coded, which is not read; save it plain, or as PNG."
        )
    if coding not in (_PLAIN, _MASKS) or depth not in _DEPTHS or width <= 0 or height == 0:
        raise ValueError("no BMP header")
    height = abs(height)  # Below 0 the rows come from the top down.
    if pixels_at + (width * depth + 31) // 32 * 4 * height > len(data):
        raise ValueError("the file ends before its picture")
    return PictureFile(
        width=width,
        height=height,
        pieces=(data,),
        profile=_profile(data, header),
        density=density(across, down, "m"),
        transparent=depth == _DEPTH_OF_ALPHA,
    )


def _profile(data: bytes, header: int) -> bytes | None:
    if header != _V5 or data[_START + 56 : _START + 60] != _EMBEDDED:
        return None
    start, length = struct.unpack_from("<II", data, _START + 112)
    return data[_START + start : _START + start + length]
