"""HEIC, AVIF, TIFF, BMP and GIF files: good ones as programs write them, and parts from which bad ones are made."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import PIL.Image
import pillow_heif

from app.imaging.heif_writer import box
from tests.support.images import Image, saved


def heic(picture: Image | PIL.Image.Image, **options: object) -> bytes:
    """By x265, as fine as it goes."""
    if not isinstance(picture, PIL.Image.Image):
        picture = PIL.Image.fromarray(picture)
    file = io.BytesIO()
    pillow_heif.from_pillow(picture).save(file, **({"quality": 95, "chroma": 444} | options))
    return file.getvalue()


def avif(picture: Image | PIL.Image.Image, **options: object) -> bytes:
    """As fine as AV1 goes in little time."""
    return saved(
        picture, "AVIF", **({"quality": 95, "subsampling": "4:4:4", "speed": 9, "max_threads": 1} | options)
    )


def replaced(data: bytes, kind: bytes, body: bytes, *, last: bool = False) -> bytes:
    """A file of boxes in which the body of the first (or last) box of this kind begins with `body`."""
    at = (data.rindex if last else data.index)(kind) + 4
    return data[:at] + body + data[at + len(body) :]


def ispe(width: int, height: int) -> bytes:
    return bytes(4) + struct.pack(">II", width, height)


class Item(NamedTuple):
    """Of a HEIF file that is written by hand: kind, property boxes, data."""

    kind: bytes
    properties: Sequence[bytes]
    data: bytes


def heif(
    items: Sequence[Item],
    references: Mapping[tuple[bytes, int], Sequence[int]] | None = None,
    *,
    brand: bytes = b"heic",
    primary: int = 1,
) -> bytes:
    """Of items numbered from 1, each with its own properties and one extent."""
    properties = [each for item in items for each in item.properties]
    head = box(b"ftyp", brand, bytes(4), b"mif1", brand)

    def meta(start: int) -> bytes:
        infos, places, associations, index = [], [], [], 1
        for number, item in enumerate(items, 1):
            infos.append(box(b"infe", struct.pack(">BxxxHH4sx", 2, number, 0, item.kind)))
            places.append(struct.pack(">HHHII", number, 0, 1, start, len(item.data)))
            own = range(index, index + len(item.properties))
            associations.append(struct.pack(f">HB{len(own)}H", number, len(own), *own))
            index, start = own.stop, start + len(item.data)
        links = [
            box(kind, struct.pack(f">HH{len(targets)}H", source, len(targets), *targets))
            for (kind, source), targets in (references or {}).items()
        ]
        return box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", struct.pack(">IH", 0, primary)),
            box(b"iloc", struct.pack(">IHH", 0, 0x4400, len(items)), *places),
            box(b"iinf", struct.pack(">IH", 0, len(items)), *infos),
            box(
                b"iprp",
                box(b"ipco", *properties),
                box(b"ipma", struct.pack(">II", 1, len(items)), *associations),
            ),
            box(b"iref", bytes(4), *links),
        )

    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", *(item.data for item in items))


def coded(picture: Image, kind: bytes = b"hvc1", **options: object) -> Item:
    """A picture's coded data and what it needs to be decoded. Its sides are even and of 64 at least."""
    data = heic(picture, **options) if kind == b"hvc1" else avif(picture, **options)
    wanted = {b"ispe", b"hvcC", b"av1C", b"pixi"}
    properties, at = [], data.index(b"ipco") + 4
    end = data.index(b"ipco") - 4 + int.from_bytes(data[data.index(b"ipco") - 4 : data.index(b"ipco")])
    while at < end:
        size = int.from_bytes(data[at : at + 4])
        if data[at + 4 : at + 8] in wanted:
            properties.append(data[at : at + size])
        at += size
    start = data.index(b"mdat") + 4
    return Item(kind, properties, data[start : start - 8 + int.from_bytes(data[start - 8 : start - 4])])


def grid(rows: int, columns: int, width: int, height: int, size: tuple[int, int] | None = None) -> Item:
    """Of tiles; `size`: (width, height) that its property says instead."""
    body = struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, width, height)
    return Item(b"grid", [box(b"ispe", ispe(*(size or (width, height))))], body)


Tag = tuple[int, int, Sequence[int]]  # number, type (3 short, 4 long, 5 ratio), values
CODES: Final = {1: "B", 3: "H", 4: "I", 5: "I"}


def tiff(tags: Sequence[Tag], data: bytes = b"", *, order: str = "<", following: int = 0) -> bytes:
    """One directory at the file's beginning, its values behind it, then `data`."""
    entries, values = b"", b""
    start = 8 + 2 + 12 * len(tags) + 4
    for tag, kind, numbers in tags:
        body = struct.pack(f"{order}{len(numbers)}{CODES[kind]}", *numbers)
        count = len(numbers) // (2 if kind == 5 else 1)
        if len(body) > 4:
            entry, values = struct.pack(order + "I", start + len(values)), values + body
        else:
            entry = body.ljust(4, b"\0")
        entries += struct.pack(order + "HHI", tag, kind, count) + entry
    magic = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    count = struct.pack(order + "H", len(tags))
    return magic + count + entries + struct.pack(order + "I", following) + values + data


def plain_tiff(
    image: Image,
    *,
    more: Sequence[Tag] = (),
    order: str = "<",
    changed: Mapping[int, Tag] | None = None,
    **named: int,
) -> bytes:
    """Uncompressed RGB of one strip; `more`: further tags; `changed`: tags instead of its own."""
    height, width = image.shape[:2]
    data = image.tobytes()

    def tags(at: int) -> list[Tag]:
        own: dict[int, Tag] = {
            256: (256, 3, [width]),
            257: (257, 3, [height]),
            258: (258, 3, [8, 8, 8]),
            259: (259, 3, [1]),
            262: (262, 3, [2]),
            273: (273, 4, [at]),
            277: (277, 3, [3]),
            278: (278, 4, [height]),
            279: (279, 4, [len(data)]),
        }
        own |= {tag[0]: tag for tag in more} | dict(changed or {})
        return [own[number] for number in sorted(own)]

    without = len(tiff(tags(0), order=order))
    return tiff(tags(without), data, order=order, following=named.get("following", 0))


def bmp(
    width: int, height: int, depth: int = 24, coding: int = 0, body: bytes = b"", colours: int = 0
) -> bytes:
    """A header that may promise anything, a palette of `colours`, and `body`."""
    palette = bytes(4 * colours)
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, depth, coding, 0, 0, 0, colours, 0)
    start = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + head + palette + body


def gif(width: int, height: int, *blocks: bytes) -> bytes:
    """A canvas with a palette of two colours, and blocks."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + b"".join(blocks) + b";"


def gif_picture(width: int, height: int, data: bytes = b"\x02\x16\x8c\x2d\x99\x87") -> bytes:
    """A descriptor, and some LZW in one sub-block, which need not be enough."""
    return b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02" + bytes([len(data)]) + data + b"\0"


def whole(image: Image) -> dict[str, bytes]:
    """A good file of each format, as programs write it."""
    picture = PIL.Image.fromarray(image)
    clear = np.dstack((image, image[..., 0]))
    return {
        "HEIC": heic(image),
        "HEIC with alpha": heic(PIL.Image.fromarray(clear)),
        "HEIC of tiles": heic(image, tile_size=64),
        "AVIF": avif(image),
        "AVIF with alpha": avif(PIL.Image.fromarray(clear)),
        "TIFF": saved(image, "TIFF"),
        "TIFF by LZW": saved(image, "TIFF", compression="tiff_lzw"),
        "TIFF by Deflate": saved(image, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF by JPEG": saved(image, "TIFF", compression="jpeg"),
        "BMP": saved(image, "BMP"),
        "GIF": saved(picture, "GIF"),
    }
