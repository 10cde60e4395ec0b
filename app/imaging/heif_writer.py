"""Items of a HEIC or AVIF file come in, a file of nothing but these goes out. Knows no other file."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

CODED: Final = {b"hvc1": b"hvcC", b"av01": b"av1C"}
"""Kinds of items that are read, and the property that each needs to be decoded."""


@dataclass(frozen=True, slots=True)
class Written:
    """An item for the new file: its kind, properties (box, body), data and, of a grid, its tiles."""

    kind: bytes
    properties: Sequence[tuple[bytes, bytes]]
    data: bytes
    tiles: Sequence[Written] = ()


def box(kind: bytes, *body: bytes) -> bytes:
    """A box of the pieces of its body."""
    whole = b"".join(body)
    return struct.pack(">I", 8 + len(whole)) + kind + whole


def written_file(picture: Written, alpha: Written | None, brand: bytes) -> list[bytes]:
    """A file of nothing but these, in pieces."""
    items: list[Written] = []
    references: list[bytes] = []

    def add(item: Written) -> int:
        items.append(item)
        number = len(items)
        if item.tiles:
            targets = [add(tile) for tile in item.tiles]
            references.append(
                box(b"dimg", struct.pack(f">HH{len(targets)}H", number, len(targets), *targets))
            )
        return number

    add(picture)
    if alpha is not None:
        references.append(box(b"auxl", struct.pack(">HHH", add(alpha), 1, 1)))
    head = box(b"ftyp", brand, bytes(4), b"mif1", brand, b"miaf")
    meta = _meta_box(items, references, 0)
    meta = _meta_box(items, references, len(head) + len(meta) + 8)
    length = sum(len(item.data) for item in items)
    return [head, meta, struct.pack(">I", 8 + length), b"mdat", *(item.data for item in items)]


def _meta_box(items: Sequence[Written], references: Sequence[bytes], data_at: int) -> bytes:
    numbers = {
        each: index for index, each in enumerate(dict.fromkeys(p for i in items for p in i.properties), 1)
    }
    infos, associations, places = [], [], []
    for number, item in enumerate(items, 1):
        # Tiles are parts of the grid alone.
        hidden = int(number > 1)
        infos.append(box(b"infe", struct.pack(">BxxBHH4sx", 2, hidden, number, 0, item.kind)))
        essential = [numbers[each] | (0x8000 if each[0] in CODED.values() else 0) for each in item.properties]
        associations.append(struct.pack(f">HB{len(essential)}H", number, len(essential), *essential))
        places.append(struct.pack(">HHHII", number, 0, 1, data_at, len(item.data)))
        data_at += len(item.data)
    return box(
        b"meta",
        bytes(4),
        box(b"hdlr", bytes(8), b"pict", bytes(13)),
        box(b"pitm", struct.pack(">IH", 0, 1)),
        box(b"iloc", struct.pack(">IHH", 0, 0x4400, len(items)), *places),
        box(b"iinf", struct.pack(">IH", 0, len(items)), *infos),
        box(
            b"iprp",
            box(b"ipco", *(box(*each) for each in numbers)),
            box(b"ipma", struct.pack(">II", 1, len(items)), *associations),
        ),
        *([box(b"iref", bytes(4), *references)] if references else []),
    )
