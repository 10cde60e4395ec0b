"""The bytes of a HEIC or AVIF file come in, its primary picture as a file of its own goes out. Knows no decoder.

Such a file is a tree of boxes (ISO/IEC 14496-12) that describes items (23008-12): pictures, tiles of a grid,
previews, gain maps, depth maps, films, EXIF, each with properties and places of its data. Only what makes the primary
picture is kept and written anew: its item or the tiles of its grid, its alpha, their sizes and configurations.
Orientation and clean aperture are read here and applied to the pixels; EXIF's orientation does not count, as in
browsers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from app.errors import UnsupportedType
from app.imaging import coded_size
from app.imaging.heif_writer import CODED, Written, written_file
from app.imaging.picture_file import PictureFile

HEVC_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})
AV1_BRANDS: Final = frozenset({b"avif", b"avis"})
BRANDS_MAX: Final = 64
# Boxes on one level, items, properties, references, extents. A phone's photo of 50 megapixels has some 300 items.
PARTS_MAX: Final = 5_000
TILES_MAX: Final = 900  # libheif reads 1000 items
# Pixels that a side of a coded picture may be longer than its box says: HEVC codes whole blocks of at most 64.
CODED_MORE: Final = 64
# Of a grid's tiles over what is shown of them.
GRID_TIMES, GRID_MORE = 2, 2_000_000

EXIF_MAX: Final = 1 << 16  # bytes

_ALPHA: Final = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0")
_PROFILES: Final = (b"prof", b"rICC")

Span = tuple[int, int]  # from, to, in the file


@dataclass(slots=True)
class _Item:
    """`properties` are boxes, from their length on."""

    kind: bytes
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)
    data: list[Span] = field(default_factory=list)

    def all_of(self, kind: bytes) -> list[bytes]:
        return [body for name, body in self.properties if name == kind]

    def one(self, kind: bytes) -> bytes:
        """The body of its only property of this kind. Raises ValueError."""
        (body,) = self.all_of(kind)
        return body

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)"""
        width, height = struct.unpack_from(">II", self.one(b"ispe"), 4)
        if not width or not height:
            raise ValueError("no size")
        return width, height


@dataclass(slots=True)
class _Meta:
    """`left`: bytes that items may still take: each of a thousand tiles may point to all of the file."""

    left: int
    primary: int = 0
    items: dict[int, _Item] = field(default_factory=dict)
    references: list[tuple[bytes, int, list[int]]] = field(default_factory=list)


def kind_of(data: bytes) -> str | None:
    """ "HEIC" or "AVIF" by the brands in the first box; None for anything else."""
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4]), 16 + 4 * BRANDS_MAX)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}
    if brands & AV1_BRANDS:
        return "AVIF"
    return "HEIC" if brands & HEVC_BRANDS else None


def read(data: bytes) -> PictureFile:
    """Raises UnsupportedType where the picture is coded in another way, ValueError and its kin where it is broken."""
    meta = _meta(data)
    main = meta.items[meta.primary]
    width, height = main.size
    coded = b"av01" if kind_of(data) == "AVIF" else b"hvc1"
    made = _written(meta, meta.primary, data, coded)
    alpha = next((_written(meta, each, data, coded, alpha=True) for each in _alphas(meta)), None)
    crop = _clean_aperture(main, width, height)
    rows, columns = crop or (slice(0, height), slice(0, width))
    profiles = [body[4:] for body in main.all_of(b"colr") if body[:4] in _PROFILES]
    return PictureFile(
        width=columns.stop - columns.start,
        height=rows.stop - rows.start,
        decoded=(width, height),
        crop=crop,
        orientation=_orientation(main),
        profile=profiles[0] if profiles else None,
        exif=_exif(meta, data),
        transparent=alpha is not None,
        pieces=written_file(made, alpha, b"avif" if coded == b"av01" else b"heic"),
    )


def _exif(meta: _Meta, data: bytes) -> bytes | None:
    """The block of the first item that is one, if it is no longer than a JPEG's."""
    for item in meta.items.values():
        if item.kind == b"Exif" and item.data and sum(stop - start for start, stop in item.data) <= EXIF_MAX:
            block = b"".join([data[start:stop] for start, stop in item.data])
            return b"Exif\0\0" + block[4 + int.from_bytes(block[:4]) :]
    return None


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, start of the body, end) of each box. Raises ValueError where one leaves the place."""
    for _ in range(PARTS_MAX):
        if start + 8 > end:
            return
        size, kind, body = int.from_bytes(data[start : start + 4]), data[start + 4 : start + 8], start + 8
        if size == 1:
            size, body = int.from_bytes(data[start + 8 : start + 16]), start + 16
        after = end if size == 0 else start + size
        if not body <= after <= end:
            raise ValueError("a box that is longer than its place")
        yield kind, body, after
        start = after
    raise ValueError("too many boxes")


def _meta(data: bytes) -> _Meta:
    top = iter(_top_boxes(data))
    start, end = next((body, after) for kind, body, after in top if kind == b"meta")
    places: dict[bytes, Span] = {}
    for kind, body, after in _boxes(data, start + 4, end):
        if kind in places and kind in (b"pitm", b"iinf", b"iloc", b"iprp", b"iref", b"idat"):
            raise ValueError("a box that comes twice")
        places[kind] = (body, after)
    meta = _Meta(len(data))
    at = places[b"pitm"][0]
    meta.primary = int.from_bytes(data[at + 4 : at + (8 if data[at] else 6)])
    _read_items(meta, data, *places[b"iinf"])
    _read_properties(meta, data, *places[b"iprp"])
    _read_places(meta, data, places[b"iloc"], places.get(b"idat"))
    if b"iref" in places:
        _read_references(meta, data, *places[b"iref"])
    return meta


def _top_boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Up to the end, or to what is cut off or no box: phones put films behind a photo."""
    start = 0
    for _ in range(PARTS_MAX):
        size = int.from_bytes(data[start : start + 4])
        found = next(_boxes(data, start, min(len(data), start + size) if size > 1 else len(data)))
        yield found
        start = found[2]
    raise ValueError("too many boxes")


def _read_items(meta: _Meta, data: bytes, start: int, end: int) -> None:
    for kind, body, _after in _boxes(data, start + (8 if data[start] else 6), end):
        version = data[body]
        if kind != b"infe" or version not in (2, 3):
            continue
        at = body + (8 if version == 3 else 6)
        item = int.from_bytes(data[body + 4 : at])
        if item in meta.items:
            raise ValueError("an item that comes twice")
        meta.items[item] = _Item(data[at + 2 : at + 6])


def _read_properties(meta: _Meta, data: bytes, start: int, end: int) -> None:
    inside = list(_boxes(data, start, end))
    ((first, last),) = [(body, after) for kind, body, after in inside if kind == b"ipco"]
    known = list(_boxes(data, first, last))
    for kind, at, _after in inside:
        if kind != b"ipma":
            continue
        wide, large = data[at] > 0, data[at + 3] & 1
        count, at = int.from_bytes(data[at + 4 : at + 8]), at + 8
        if count > PARTS_MAX:
            raise ValueError("too many associations")
        for _ in range(count):
            item = int.from_bytes(data[at : at + (4 if wide else 2)])
            at += 4 if wide else 2
            for _ in range(data[at]):
                place = at + 1
                at += 2 if large else 1
                index = int.from_bytes(data[place : at + 1]) & (0x7FFF if large else 0x7F)
                if index and item in meta.items:
                    name, body, after = known[index - 1]
                    meta.items[item].properties.append((name, data[body:after]))
            at += 1


def _read_places(meta: _Meta, data: bytes, iloc: Span, idat: Span | None) -> None:
    """Where each item's data lies."""
    at, end = iloc
    version = data[at]
    sizes = int.from_bytes(data[at + 4 : at + 6])
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version in (1, 2) else 0
    at += 6
    numbers = _Numbers(data[:end], at)
    left = PARTS_MAX
    for _ in range(numbers.take(4 if version == 2 else 2)):
        item = meta.items.get(numbers.take(4 if version == 2 else 2))
        method = numbers.take(2) & 15 if version in (1, 2) else 0
        numbers.take(2)
        base = numbers.take(base_size)
        for _ in range(numbers.take(2)):
            left -= 1
            if left < 0:
                raise ValueError("too many extents")
            numbers.take(index_size)
            first = base + numbers.take(offset_size)
            length = numbers.take(length_size)
            place = (0, len(data)) if method == 0 else idat
            if item is not None and place is not None and method < 2:
                item.data.append((place[0] + first, min(place[0] + first + length, place[1] + 1)))


@dataclass(slots=True)
class _Numbers:
    data: bytes
    at: int

    def take(self, size: int) -> int:
        """The next big-endian number of so many bytes; 0 of none. Raises EOFError."""
        self.at += size
        if self.at > len(self.data):
            raise EOFError
        return int.from_bytes(self.data[self.at - size : self.at])


def _read_references(meta: _Meta, data: bytes, start: int, end: int) -> None:
    size = 4 if data[start] else 2
    left = PARTS_MAX
    for kind, body, after in _boxes(data, start + 4, end):
        numbers = _Numbers(data[:after], body)
        source = numbers.take(size)
        count = numbers.take(2)
        left -= count
        if left < 0:
            raise ValueError("too many references")
        meta.references.append((kind, source, [numbers.take(size) for _ in range(count)]))


def _alphas(meta: _Meta) -> Iterator[int]:
    for kind, source, targets in meta.references:
        item = meta.items.get(source)
        if kind == b"auxl" and meta.primary in targets and item is not None:
            yield from (source for body in item.all_of(b"auxC")[:1] if body[4:].startswith(_ALPHA))


def _written(meta: _Meta, number: int, data: bytes, coded: bytes, *, alpha: bool = False) -> Written:
    """What of an item goes into the new file. Raises UnsupportedType, ValueError."""
    item = meta.items[number]
    properties = [(b"ispe", item.one(b"ispe"))]
    properties += [(b"pixi", body) for body in item.all_of(b"pixi")[:1]]
    properties += [(b"colr", body) for body in item.all_of(b"colr") if body[:4] == b"nclx"][:1]
    properties += [(b"auxC", body) for body in item.all_of(b"auxC")[:1] if alpha]
    body = _joined(meta, data, item.data)
    if item.kind == b"grid":
        tiles = [each for kind, source, each in meta.references if (kind, source) == (b"dimg", number)]
        return _grid(meta, item, body, properties, tiles[0] if tiles else [], data, coded)
    if item.kind != coded:
        raise UnsupportedType(f"The picture in the file is coded as {item.kind!r}, which is not read.")
    configuration = item.one(CODED[coded])
    width, height = item.size
    sizes = coded_size.of_av1 if coded == b"av01" else coded_size.of_hevc
    for wide, high in sizes(configuration, body):
        # What is smaller would be made larger: some bytes would become all the pixels that may be.
        if not (width <= wide <= width + CODED_MORE and height <= high <= height + CODED_MORE):
            raise ValueError("a picture of another size than its box says")
    return Written(item.kind, [*properties, (CODED[coded], configuration)], body)


def _grid(
    meta: _Meta,
    item: _Item,
    body: bytes,
    properties: list[tuple[bytes, bytes]],
    numbers: Sequence[int],
    data: bytes,
    coded: bytes,
) -> Written:
    rows, columns = body[2] + 1, body[3] + 1
    width, height = struct.unpack_from(">II" if body[1] & 1 else ">HH", body, 4)
    if len(numbers) != rows * columns or len(numbers) > TILES_MAX or (width, height) != item.size:
        raise ValueError("a grid of another size")
    if any(meta.items[each].kind != coded for each in numbers):
        raise UnsupportedType("The picture in the file is a grid of what is not read.")
    wide, high = meta.items[numbers[0]].size
    if any(meta.items[each].size != (wide, high) for each in numbers):
        raise ValueError("tiles of different sizes")
    if not ((columns - 1) * wide < width <= columns * wide and (rows - 1) * high < height <= rows * high):
        raise ValueError("tiles that are not those of the grid")
    if columns * wide * rows * high > GRID_TIMES * width * height + GRID_MORE:
        raise ValueError("tiles of which hardly anything is shown")
    tiles = [_written(meta, each, data, coded) for each in numbers]
    grid = struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, width, height)
    return Written(b"grid", properties, grid, tiles)


def _joined(meta: _Meta, data: bytes, spans: Sequence[Span]) -> bytes:
    """Raises ValueError where the file is cut off, or where items together are longer than it."""
    meta.left -= sum(stop - start for start, stop in spans)
    if not spans or meta.left < 0 or any(not 0 <= start < stop <= len(data) for start, stop in spans):
        raise ValueError("data that is not in the file")
    return b"".join([data[start:stop] for start, stop in spans])


def _clean_aperture(item: _Item, width: int, height: int) -> tuple[slice, slice] | None:
    """Rows and columns of the part to be shown; None: all, also where it says something that cannot be."""
    for body in item.all_of(b"clap")[:1]:
        wide_n, wide_d, high_n, high_d, x_n, x_d, y_n, y_d = struct.unpack(">8i", body[:32])
        if min(wide_d, high_d, x_d, y_d) <= 0:
            return None
        wide, high = round(wide_n / wide_d), round(high_n / high_d)
        left, top = round((width - wide) / 2 + x_n / x_d), round((height - high) / 2 + y_n / y_d)
        if wide > 0 and high > 0 and 0 <= left <= width - wide and 0 <= top <= height - high:
            return slice(top, top + high), slice(left, left + wide)
    return None


def _orientation(item: _Item) -> int:
    """What `irot` and `imir` do, in their order, as EXIF numbers it."""
    corners = np.arange(4).reshape(2, 2)
    for kind, body in item.properties:
        if kind == b"irot" and body:
            corners = np.rot90(corners, body[0] & 3)
        elif kind == b"imir" and body:
            corners = corners[:, ::-1] if body[0] & 1 else corners[::-1]
    return _CORNERS[tuple(corners.ravel().tolist())]


# Where the stored corners (0 1 above 2 3) come to lie for each of EXIF's orientations.
_CORNERS: Final[dict[tuple[int, ...], int]] = {
    (0, 1, 2, 3): 1,
    (1, 0, 3, 2): 2,
    (3, 2, 1, 0): 3,
    (2, 3, 0, 1): 4,
    (0, 2, 1, 3): 5,
    (2, 0, 3, 1): 6,
    (3, 1, 2, 0): 7,
    (1, 3, 0, 2): 8,
}
