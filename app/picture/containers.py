"""Bytes of a photo come in; a refusal goes out where its parts alone would keep a decoder busy. Knows no pixel.

The limit on pixels bounds what a file unfolds to, not the work on the way: a JPEG of 300 kB may pass 50 megapixels
hundreds of times, and a reader that goes from part to part in Python takes minutes for millions of empty ones.
So parts are counted first, in steps that are themselves bounded.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Final

from app.errors import UnreadableImage

# Markers before the first scan, stray bytes included. An ICC profile has at most 255, a depth map some dozens.
SEGMENTS_MAX: Final = 1_000
# Pillow joins them by copying what it has so far, once for each. The standard knows one, of at most 64 KiB.
EXIF_MAX: Final = 16
# libjpeg's own script has 10 for colour, 18 for CMYK. Each is another pass through all of the picture.
SCANS_MAX: Final = 50
# Writers split a picture's data at every 8 KiB, rarely at every 1 KiB or 2.
CHUNKS_MAX: Final = 30_000

_SCAN: Final = 0xDA
_END: Final = 0xD9
_APP1: Final = 0xE1
# Markers that no length follows: TEM, JPG, RST, SOI, EOI and JPG0 to JPG13.
_BARE: Final = frozenset({0x01, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)})
# The chunks of a PNG without which there is no picture, as the standard has them.
_CRITICAL: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
# What ends a scan's data: any marker but a restart; 00 says that the FF before it is data, another FF fills.
_AFTER_SCAN: Final = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")


def check_parts(kind: str, data: bytes) -> None:
    """Raise UnreadableImage if a JPEG or PNG file has more parts than any camera or program writes."""
    if kind == "JPEG":
        first_scan(data)
    elif kind == "PNG":
        _check_chunks(data)


def check_scans(data: bytes) -> None:
    """Raise UnreadableImage if a JPEG passes its picture more than SCANS_MAX times."""
    at = first_scan(data)
    # Never too few, and fast; too many only where more data follows the picture, such as a phone's film.
    if data.count(bytes((0xFF, _SCAN)), at) <= SCANS_MAX:
        return
    scans = 0
    for _ in range(SEGMENTS_MAX):
        found = _AFTER_SCAN.search(data, at)
        if found is None or data[found.start() + 1] == _END:
            return
        at = found.end()
        scans += data[at - 1] == _SCAN
        if scans > SCANS_MAX:
            break
        at += max(2, int.from_bytes(data[at : at + 2]))
    raise UnreadableImage(f"The JPEG file has more than {SCANS_MAX} scans or {SEGMENTS_MAX} segments.")


def first_scan(data: bytes) -> int:
    """Where the first scan's marker is in a JPEG, or the file's end.

    Raises UnreadableImage if it comes after more than SEGMENTS_MAX parts, or EXIF_MAX of EXIF.
    """
    at, exifs = 2, 0
    for _ in range(SEGMENTS_MAX):
        if at + 1 >= len(data):
            return len(data)
        marker = data[at + 1]
        if data[at] != 0xFF or marker in (0x00, 0xFF):
            at += 1  # A stray or a filling byte.
        elif marker == _SCAN:
            return at
        elif marker in _BARE:
            at += 2
        else:
            exifs += marker == _APP1 and data.startswith(b"Exif\0\0", at + 4)
            if exifs > EXIF_MAX:
                break
            at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4]))
    raise UnreadableImage(f"The JPEG file has more than {SEGMENTS_MAX} segments or {EXIF_MAX} of EXIF.")


def is_whole(kind: str, data: bytes, crc32: Callable[[memoryview, int], int] = zlib.crc32) -> bool:
    """Whether the file reaches its end marker, and a PNG's pixels are what its checksums say.

    Decoders forgive the loss of some last bytes, each its own, and Pillow does not look at the checksums of pixels.
    """
    if kind == "PNG":
        return _chunks_are_whole(memoryview(data), crc32)
    if kind == "WEBP":
        return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    # After the first scan, so that the end of a thumbnail does not count. Anything may follow the end: phones put
    # films there.
    return data.rfind(bytes((0xFF, _END)), first_scan(data)) > 0


def _chunks_are_whole(data: memoryview, crc32: Callable[[memoryview, int], int]) -> bool:
    at = 8
    for _ in range(CHUNKS_MAX):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        if end + 4 > len(data):
            return False
        kind = bytes(data[at + 4 : at + 8])
        if kind in _CRITICAL and crc32(data[at + 4 : end], 0) != int.from_bytes(data[end : end + 4]):
            return False
        if kind == b"IEND":
            return True
        at = end + 4
    return False


def _check_chunks(data: bytes) -> None:
    at = 8
    for _ in range(CHUNKS_MAX):
        if at >= len(data) or data.startswith(b"IEND", at + 4):
            return
        at += 12 + int.from_bytes(data[at : at + 4])
    raise UnreadableImage(f"The PNG file has more than {CHUNKS_MAX} chunks.")
