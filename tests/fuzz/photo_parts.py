"""The bytes of a JPEG, PNG, WebP, HEIC or AVIF file come in, its parts go out, and parts become a file again.

Lengths and checksums are computed when a file is put together, so that a changed part is read and not merely refused.
Knows no decoder and nothing of the service.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
SCAN: Final = b"\xda"
# Markers that no length follows.
_BARE: Final = frozenset({0x00, 0x01, 0xFF, *range(0xD0, 0xDA)})
_AFTER_SCAN: Final = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")


class Part(NamedTuple):
    """A chunk or segment by its name; without a name: bytes that are taken as they are."""

    name: bytes
    body: bytes


def split(data: bytes) -> list[Part] | None:
    """None where the file is of no format that is known here."""
    if data.startswith(PNG_MAGIC):
        return _split_png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _split_jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _split_webp(data)
    return _split_boxes(data) if data[4:8] == b"ftyp" else None


def join(kind: bytes, parts: Sequence[Part]) -> bytes:
    """A file again; `kind` is its first four bytes."""
    write = _writer(kind)
    body = b"".join(write(part) if part.name else part.body for part in parts)
    if kind != b"RIFF":
        return body
    tail = len(parts[-1].body) if parts and not parts[-1].name else 0
    return b"RIFF" + struct.pack("<I", (len(body) + 4 - tail) % 2**32) + b"WEBP" + body


def _writer(kind: bytes) -> Callable[[Part], bytes]:
    if kind == b"RIFF":
        return _riff_chunk
    if kind[0] == 0:
        return _box
    return _png_chunk if kind == PNG_MAGIC[:4] else _segment


def _png_chunk(part: Part) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(part.name + part.body))
    return struct.pack(">I", len(part.body)) + part.name + part.body + checksum


def _segment(part: Part) -> bytes:
    return b"\xff" + part.name + struct.pack(">H", (len(part.body) + 2) % 2**16) + part.body


def _riff_chunk(part: Part) -> bytes:
    return part.name + struct.pack("<I", len(part.body)) + part.body + b"\0" * (len(part.body) % 2)


def _split_png(data: bytes) -> list[Part]:
    parts, at = [Part(b"", PNG_MAGIC)], len(PNG_MAGIC)
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        if end + 4 > len(data):
            break
        parts.append(Part(data[at + 4 : at + 8], data[at + 8 : end]))
        at = end + 4
    return _with_rest(parts, data[at:])


def _split_jpeg(data: bytes) -> list[Part]:
    parts, at = [Part(b"", data[:2])], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] not in _BARE:
        end = at + 2 + max(2, int.from_bytes(data[at + 2 : at + 4]))
        if end > len(data):
            break
        parts.append(Part(data[at + 1 : at + 2], data[at + 4 : end]))
        at = end
        if parts[-1].name == SCAN:
            found = _AFTER_SCAN.search(data, at)
            end = found.start() if found else len(data)
            parts.append(Part(b"", data[at:end]))
            at = end
    return _with_rest(parts, data[at:])


def _box(part: Part) -> bytes:
    return struct.pack(">I", len(part.body) + 8) + part.name + part.body


def _split_boxes(data: bytes) -> list[Part]:
    """Those on the top."""
    parts, at = [], 0
    while at + 8 <= len(data):
        end = at + int.from_bytes(data[at : at + 4])
        if not at + 8 <= end <= len(data):
            break
        parts.append(Part(data[at + 4 : at + 8], data[at + 8 : end]))
        at = end
    return _with_rest(parts, data[at:])


def _split_webp(data: bytes) -> list[Part]:
    parts, at = [], 12
    while at + 8 <= len(data):
        end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        if end > len(data):
            break
        parts.append(Part(data[at : at + 4], data[at + 8 : end]))
        at = end + (end - at) % 2
    return _with_rest(parts, data[at:])


def _with_rest(parts: list[Part], rest: bytes) -> list[Part]:
    return [*parts, Part(b"", rest)] if rest else parts
