"""Bytes of a photo come in; a refusal goes out where its parts alone would keep a decoder busy. Knows no pixel.

The limit on pixels bounds what a file unfolds to, not the work on the way: a JPEG of 300 kB may pass 50 megapixels
hundreds of times, and a reader that goes from part to part in Python takes minutes for millions of empty ones.
So parts are counted first, in steps that are themselves bounded. What a PNG carries beside its picture is left out
before anybody unpacks it.
"""

from __future__ import annotations

import itertools
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final

from app.errors import UnreadableImage
from app.imaging import bmp_file, gif_file, heif_file, tiff_file

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
# The chunks of a PNG that make its picture: the critical ones of the standard, and transparency.
_PICTURE: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
# A JPEG says that pictures follow it: by the multi-picture format, or by Google's directory of what is in the file.
_SEVERAL: Final = re.compile(rb"MPF\0|Container:Directory")
_BETWEEN: Final = re.compile(rb"[\0\t\n\r ]*")
# What ends a scan's data: any marker but a restart; 00 says that the FF before it is data, another FF fills.
_AFTER_SCAN: Final = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")


def kind_of(data: bytes) -> str | None:
    """The format by its magic bytes, one of `app.imaging.decode.KINDS`; None for anything else."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(_PNG_MAGIC):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if tiff_file.is_tiff(data):
        return "TIFF"
    if gif_file.is_gif(data):
        return "GIF"
    return "BMP" if bmp_file.is_bmp(data) else heif_file.kind_of(data)


def is_followed(data: bytes) -> bool:
    """Whether a second picture comes behind the first one, as where two files were sent as one.

    Phones put more behind a JPEG, films and depth maps, but say so before it.
    """
    kind = kind_of(data)
    end = _ends(kind, data) if kind is not None else None
    if end is None or (kind == "JPEG" and _SEVERAL.search(data, 0, first_scan(data))):
        return False
    rest = _BETWEEN.match(data, end)
    return rest is not None and kind_of(data[rest.end() : rest.end() + 64]) is not None


def _ends(kind: str, data: bytes) -> int | None:
    """Behind the last byte of the picture, or None if it does not come to its end or no such end is known."""
    if kind == "WEBP":
        return 8 + int.from_bytes(data[4:8], "little")
    if kind == "PNG":
        found = itertools.islice(_chunks(data), CHUNKS_MAX)
        return next((end for name, _start, end in found if name == b"IEND"), None)
    return _jpeg_end(data) if kind == "JPEG" else None


def _jpeg_end(data: bytes) -> int | None:
    try:
        at = first_scan(data)
    except UnreadableImage:
        return None
    for _ in range(SEGMENTS_MAX):
        found = _AFTER_SCAN.search(data, at)
        if found is None:
            return None
        at = found.end()
        if data[at - 1] == _END:
            return at
        at += max(2, int.from_bytes(data[at : at + 2]))
    return None


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
    """Whether the file reaches its end marker, and a PNG's picture is what its checksums say.

    Decoders forgive the loss of some last bytes, each its own, and Pillow does not look at the checksums of pixels.
    """
    if kind == "PNG":
        return _chunks_are_whole(data, crc32)
    if kind == "WEBP":
        return len(data) >= 8 + int.from_bytes(data[4:8], "little")
    # After the first scan, so that the end of a thumbnail does not count. Anything may follow the end: phones put
    # films there.
    return data.rfind(bytes((0xFF, _END)), first_scan(data)) > 0


def png_size(data: bytes) -> tuple[int, int]:
    """(width, height) by the last header before a PNG's pixels, which is the one that Pillow takes too.

    Raises ValueError or struct.error where there is none.
    """
    size = None
    for kind, start, _end in _chunks(data):
        if kind == b"IDAT":
            break
        if kind == b"IHDR":
            size = struct.unpack_from(">II", data, start + 8)
    if size is None:
        raise ValueError("no PNG header")
    return size[0], size[1]


def png_picture(
    data: bytes, crc32: Callable[[memoryview, int], int] = zlib.crc32
) -> tuple[bytes, bytes | None]:
    """A PNG without the chunks that a decoder may pass over, save transparency; and the body of its EXIF, if it has
    one whose checksum holds.

    Texts and colour profiles are compressed, each as far as 1000 times. Pillow unpacks them all, refuses the photo
    if one is larger than 1 MiB, and mixes texts with what it knows of the picture, by names that the file chose.
    Of an animation the picture remains that programs show which know no animations.
    """
    view, exif = memoryview(data), None
    kept = [view[:8]]
    for kind, start, end in _chunks(data):
        if kind in _PICTURE or not kind[:1].islower():
            kept.append(view[start:end])
        elif kind == b"eXIf" and exif is None and _checksum_holds(view, start, end, crc32):
            exif = data[start + 8 : end - 4]
    return b"".join(kept), exif


def png_chunk(data: bytes, name: bytes, crc32: Callable[[memoryview, int], int] = zlib.crc32) -> bytes | None:
    """The body of a PNG's first chunk of this name before its pixels; None: there is none whose checksum holds."""
    for kind, start, end in _chunks(data):
        if kind == b"IDAT":
            break
        if kind == name and _checksum_holds(memoryview(data), start, end, crc32):
            return data[start + 8 : end - 4]
    return None


def _chunks_are_whole(data: bytes, crc32: Callable[[memoryview, int], int]) -> bool:
    view = memoryview(data)
    for kind, start, end in itertools.islice(_chunks(data), CHUNKS_MAX):
        if end > len(data) or (kind in _PICTURE and not _checksum_holds(view, start, end, crc32)):
            return False
        if kind == b"IEND":
            return True
    return False


def _checksum_holds(view: memoryview, start: int, end: int, crc32: Callable[[memoryview, int], int]) -> bool:
    return crc32(view[start + 4 : end - 4], 0) == int.from_bytes(view[end - 4 : end])


def _check_chunks(data: bytes) -> None:
    if sum(1 for _ in itertools.islice(_chunks(data), CHUNKS_MAX + 1)) > CHUNKS_MAX:
        raise UnreadableImage(f"The PNG file has more than {CHUNKS_MAX} chunks.")


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """A PNG's chunks as (type, start, end) up to IEND or the end of the file, which the last one may pass. From the
    4 bytes of the length, to behind the checksum."""
    at = 8
    while at < len(data):
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4])
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end
