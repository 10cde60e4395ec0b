"""The bytes of a TIFF file come in, its first page as a file of its own goes out. Knows no decoder.

A TIFF is directories of tags that point to anywhere in it, each to the next one. Pillow loads every tag and every
inner directory, however many share the same megabytes. So the first directory is read here, in bounded steps, and
written anew with nothing but the tags that make a picture; orientation, resolution and colour profile are read here.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.errors import UnsupportedType
from app.imaging.picture_file import Density, PictureFile, density

MAGICS: Final = (b"II*\0", b"MM\0*")
TAGS_MAX: Final = 1_000  # of one directory
PAGES_MAX: Final = 10_000
# Of a tile over the whole picture: small pictures have one that is much larger.
TILE_TIMES, TILE_MORE = 2, 1_000_000
PIECES_MAX: Final = 400_000  # strips or tiles: one for each row of each of four layers

WIDTH, HEIGHT, DEPTHS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIPS, ORIENTATION, LAYERS, ROWS, STRIP_SIZES = 273, 274, 277, 278, 279
ACROSS, DOWN, PLANAR, UNIT, TILE_WIDTH, TILE_HEIGHT = 282, 283, 284, 296, 322, 323
TILES, TILE_SIZES, KIND, SAMPLE_FORMAT, PROFILE, DNG = 324, 325, 254, 339, 34_675, 50_706
EXTRA: Final = 338  # layers beside the colours, of which one is alpha
# FillOrder, Predictor, ColorMap, JPEGTables, YCbCr's coefficients, subsampling and positioning, and
# ReferenceBlackWhite.
_OTHERS: Final = (266, 317, 320, EXTRA, 347, 529, 530, 531, 532)
_PICTURE: Final = frozenset(
    (
        *(WIDTH, HEIGHT, DEPTHS, COMPRESSION, PHOTOMETRIC, STRIPS, LAYERS, ROWS, STRIP_SIZES, PLANAR),
        *(TILE_WIDTH, TILE_HEIGHT, TILES, TILE_SIZES, SAMPLE_FORMAT, *_OTHERS),
    )
)
_PIECES: Final = frozenset({STRIPS, STRIP_SIZES, TILES, TILE_SIZES})
_OTHERS_BYTES_MAX: Final = 1 << 19  # a palette of 16 bits has 393,216
# None, LZW, JPEG, Deflate in its two numbers, PackBits.
COMPRESSIONS: Final = frozenset({1, 5, 7, 8, 32_946, 32_773})
# Grey with white as 0, grey, RGB, palette, CMYK, YCbCr.
PHOTOMETRICS: Final = frozenset({0, 1, 2, 3, 5, 6})
_RAW: Final = frozenset({32_803, 34_892})
_BYTES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_CODES: Final = {1: "u1", 3: "u2", 4: "u4"}
_UNITS: Final = {2: "inch", 3: "cm"}
_UNSIGNED: Final = 1
_DEPTH_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class _Tag:
    """`raw`: its 12 bytes. `start`: where its values lie, `count` of `size` bytes each."""

    raw: bytes
    type: int
    count: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class _Directory:
    data: bytes
    order: str  # as struct and NumPy write it
    tags: Mapping[int, _Tag]

    def numbers(self, tag: int) -> NDArray[np.int64]:
        """The whole numbers of a tag. Raises ValueError where they are none, or not in the file."""
        found = self.tags[tag]
        if found.type not in _CODES or found.start + found.length > len(self.data):
            raise ValueError("a tag without numbers")
        kind = np.dtype(self.order + _CODES[found.type])
        return np.frombuffer(self.data, kind, found.count, found.start).astype(np.int64)

    def number(self, tag: int, default: int | None = None) -> int:
        """The first one of a tag. Raises KeyError, ValueError."""
        if tag not in self.tags and default is not None:
            return default
        return int(self.numbers(tag)[:1].sum())

    def ratio(self, tag: int) -> float:
        """0 where there is none."""
        found = self.tags.get(tag)
        if found is None or found.type != 5 or found.start + 8 > len(self.data):
            return 0.0
        above, below = struct.unpack_from(self.order + "II", self.data, found.start)
        return above / below if below else 0.0


def is_tiff(data: bytes) -> bool:
    return data[:4] in MAGICS


def read(data: bytes) -> PictureFile:
    """Raises UnsupportedType for what only TIFF can hold, ValueError and its kin where the file is damaged."""
    order = "<" if data[:2] == b"II" else ">"
    (first,) = struct.unpack_from(order + "I", data, 4)
    page = _directory(data, order, first)
    _refuse_others(page)
    width, height = page.number(WIDTH), page.number(HEIGHT)
    if width <= 0 or height <= 0:
        raise ValueError("no size")
    _check_pieces(page, width, height)
    return PictureFile(
        width=width,
        height=height,
        pieces=_written(page),
        orientation=page.number(ORIENTATION, 1),
        profile=_profile(page),
        density=_density(page),
        frames=_pages(data, order, first),
        transparent=EXTRA in page.tags,
    )


def _directory(data: bytes, order: str, start: int) -> _Directory:
    (count,) = struct.unpack_from(order + "H", data, start)
    if count > TAGS_MAX:
        raise ValueError("too many tags")
    tags: dict[int, _Tag] = {}
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, number, value = struct.unpack_from(order + "HHII", data, at)
        length = number * _BYTES.get(kind, 1)
        tags.setdefault(tag, _Tag(data[at : at + 12], kind, number, value if length > 4 else at + 8, length))
    return _Directory(data, order, tags)


def _refuse_others(page: _Directory) -> None:
    photometric = page.number(PHOTOMETRIC, 1)
    if DNG in page.tags or photometric in _RAW or page.number(KIND, 0) & 1 or page.data[8:10] == b"CR":
        raise UnsupportedType(
            "The file is a camera's raw photo; develop it, and send a JPEG, TIFF or HEIC file."
        )
    compression = page.number(COMPRESSION, 1)
    if compression not in COMPRESSIONS:
        raise UnsupportedType(
            f"The TIFF file is compressed by method {compression}, which is not read; save it with LZW or Deflate."
        )
    depths, formats = (
        set(page.numbers(tag)[:9].tolist()) if tag in page.tags else {1} for tag in (DEPTHS, SAMPLE_FORMAT)
    )
    if photometric not in PHOTOMETRICS or max(depths) > _DEPTH_MAX or formats != {_UNSIGNED}:
        raise UnsupportedType(
            "The TIFF file holds other numbers than grey, RGB, CMYK or YCbCr of at most 16 bits, unsigned."
        )


def _check_pieces(page: _Directory, width: int, height: int) -> None:
    """Strips or tiles are as many as the picture needs, in the file, and together no larger than it."""
    layers = page.number(LAYERS, 1) if page.number(PLANAR, 1) == 2 else 1
    if TILES in page.tags:
        wide, high = page.number(TILE_WIDTH), page.number(TILE_HEIGHT)
        if wide <= 0 or high <= 0 or wide * high > TILE_TIMES * (width * height + TILE_MORE):
            raise ValueError("tiles that are larger than the picture")
        places, sizes, needed = TILES, TILE_SIZES, layers * -(-width // wide) * -(-height // high)
    else:
        rows = page.number(ROWS, height)
        places, sizes, needed = STRIPS, STRIP_SIZES, layers * -(-height // max(1, min(rows, height)))
    if needed > PIECES_MAX or page.tags[places].count != needed or page.tags[sizes].count != needed:
        raise ValueError("another number of strips or tiles than the picture has")
    starts, lengths = page.numbers(places), page.numbers(sizes)
    if int(lengths.sum()) > len(page.data) or int((starts + lengths).max()) > len(page.data):
        raise ValueError("the file ends before its picture")
    if page.number(COMPRESSION, 1) == 1:
        least = width * height * int(page.numbers(DEPTHS)[:1].sum() if DEPTHS in page.tags else 1) // 8
        if int(lengths.sum()) < least:
            raise ValueError("strips that are too short")


def _written(page: _Directory) -> list[bytes | memoryview]:
    """The file as it is, with a new first directory at its end."""
    unused = (STRIPS, STRIP_SIZES) if TILES in page.tags else (TILES, TILE_SIZES)
    kept = {tag: found for tag, found in page.tags.items() if tag in _PICTURE and tag not in unused}
    for tag, found in kept.items():
        large = found.length > _OTHERS_BYTES_MAX and tag not in _PIECES
        if large or found.start + found.length > len(page.data):
            raise ValueError("a tag that is too large, or not in the file")
    padding = bytes(len(page.data) % 2)
    directory = struct.pack(page.order + "H", len(kept)) + b"".join(kept[tag].raw for tag in sorted(kept))
    start = struct.pack(page.order + "I", len(page.data) + len(padding))
    return [page.data[:4], start, memoryview(page.data)[8:], padding, directory, bytes(4)]


def _profile(page: _Directory) -> bytes | None:
    found = page.tags.get(PROFILE)
    return None if found is None else page.data[found.start : found.start + found.length]


def _density(page: _Directory) -> Density | None:
    unit = _UNITS.get(page.number(UNIT, 2))
    return None if unit is None else density(page.ratio(ACROSS), page.ratio(DOWN), unit)


def _pages(data: bytes, order: str, start: int) -> int:
    """How many directories follow each other, up to one that came before or is not in the file."""
    seen: set[int] = set()
    while 0 < start <= len(data) - 2 and start not in seen and len(seen) < PAGES_MAX:
        seen.add(start)
        (count,) = struct.unpack_from(order + "H", data, start)
        if start + 6 + 12 * count > len(data):
            break
        (start,) = struct.unpack_from(order + "I", data, start + 2 + 12 * count)
    return max(1, len(seen))
