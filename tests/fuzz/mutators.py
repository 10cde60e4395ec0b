"""A file and a seed come in, a changed file goes out: what libFuzzer does with bytes, done with a photo's parts.

A byte that is changed somewhere in a PNG is a wrong checksum and nothing else; here a part is changed, doubled, left
out, moved, or taken from another file, and the file is put together again. Knows nothing of the service.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from typing import Final

from tests.fuzz.photo_parts import Part, join, split

# Bytes and the most of them that may come back: libFuzzer's own mutation, or a test's.
Change = Callable[[bytes, int], bytes]

# One time in so many the bytes of the whole file are changed, checksums and lengths left wrong.
_BLIND: Final = 8
_INFLATED_MAX: Final = 100_000
_ZLIB_AT: Final = {b"IDAT": 0, b"fdAT": 4}  # where in a chunk a zlib stream begins
_AFTER_NAME: Final = {b"iCCP": 2, b"zTXt": 2}  # … or so many bytes from the end of its name
_NUMBERS: Final = (
    0,
    1,
    2,
    7,
    8,
    16,
    127,
    128,
    255,
    256,
    4_095,
    32_767,
    32_768,
    65_535,
    2**24,
    2**31 - 1,
    2**32 - 1,
)
_EXIF: Final = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
# Parts that a small file rarely has, by the file's first four bytes.
_GUESTS: Final = {
    b"\x89PNG": (
        Part(b"tRNS", bytes((0, 128, 255, 7, 0, 1))),
        Part(b"PLTE", bytes(range(48))),
        Part(b"gAMA", b"\0\0\xb1\x8f"),
        Part(b"pHYs", bytes(9)),
        Part(b"eXIf", _EXIF[6:]),
        Part(b"iCCP", b"p\0\0" + zlib.compress(bytes(200))),
        Part(b"zTXt", b"k\0\0" + zlib.compress(b"text" * 9)),
        Part(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(b"text" * 9)),
        Part(b"acTL", b"\0\0\0\2\0\0\0\0"),
        Part(b"fcTL", b"\0\0\0\0\0\0\0\x08\0\0\0\x08" + bytes(14)),
        Part(b"fdAT", b"\0\0\0\1" + zlib.compress(bytes(200))),
    ),
    b"RIFF": (
        Part(b"VP8X", bytes((0x3E, 0, 0, 0, 79, 0, 0, 59, 0, 0))),
        Part(b"ALPH", bytes(9)),
        Part(b"ANIM", bytes(6)),
        Part(b"ANMF", bytes(16)),
        Part(b"EXIF", _EXIF),
        Part(b"ICCP", bytes(200)),
        Part(b"XMP ", b"<x/>"),
    ),
    b"\0\0\0": (
        Part(b"meta", bytes(4)),
        Part(b"moov", bytes(99)),
        Part(b"ftyp", b"avif\0\0\0\0heic"),
        Part(b"free", b""),
    ),
    b"\xff\xd8\xff": (
        Part(b"\xe1", _EXIF),
        Part(b"\xe2", b"MPF\0II*\0\x08\0\0\0" + bytes(9)),
        Part(b"\xe2", b"ICC_PROFILE\0\1\1" + bytes(99)),
        Part(b"\xed", b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\x10" + bytes(16)),
        Part(b"\xee", b"Adobe\0d\0\0\0\0\2"),
        Part(b"\xdd", b"\0\1"),
        Part(b"\xdc", b"\0\x3c"),
        Part(b"\xfe", b"text"),
    ),
}


def mutate(data: bytes, max_size: int, seed: int, change: Change) -> bytes:
    """`data` with one to three of its parts changed, at most `max_size` long."""
    rng = random.Random(seed)
    parts = split(data)
    if parts is None or rng.randrange(_BLIND) == 0:
        return change(data, max_size)
    for _ in range(rng.randint(1, 3)):
        rng.choice(_STEPS)(parts, rng, change, data[:4])
    return join(data[:4], parts)[:max_size]


def cross(data: bytes, other: bytes, max_size: int, seed: int) -> bytes:
    """`data` with a run of parts of `other` in the place of its own."""
    rng = random.Random(seed)
    ours, theirs = split(data), split(other)
    if not ours or not theirs or data[:3] != other[:3]:
        cut = rng.randint(0, len(data))
        return (data[:cut] + other[rng.randint(0, len(other)) :])[:max_size]
    at, start = rng.randint(1, len(ours)), rng.randrange(len(theirs))
    taken = theirs[start : start + rng.randint(1, 4)]
    return join(data[:4], [*ours[:at], *taken, *ours[at + rng.randint(0, len(taken)) :]])[:max_size]


def _body(parts: list[Part], rng: random.Random, change: Change, _kind: bytes) -> None:
    at = _any(parts, rng)
    name, body = parts[at]
    parts[at] = Part(name, change(body, len(body) + 64))


def _number(parts: list[Part], rng: random.Random, _change: Change, _kind: bytes) -> None:
    """A field of one, two or four bytes says something unlikely."""
    at = _any(parts, rng)
    name, body = parts[at]
    width = rng.choice((1, 2, 4))
    if len(body) < width:
        return
    # Headers are at the front, and fields are where their width divides the way.
    place = rng.randrange(0, min(len(body) - width, 32) + 1)
    value = (rng.choice(_NUMBERS) % 2 ** (8 * width)).to_bytes(width, rng.choice(("big", "little")))
    parts[at] = Part(name, body[:place] + value + body[place + width :])


def _inflated(parts: list[Part], rng: random.Random, change: Change, kind: bytes) -> None:
    """What a zlib stream holds is changed, and the stream is right again."""
    at = _any(parts, rng)
    name, body = parts[at]
    start = _ZLIB_AT.get(name, body.find(b"\0") + _AFTER_NAME.get(name, 0))
    if name not in _ZLIB_AT and name not in _AFTER_NAME:
        _body(parts, rng, change, kind)
        return
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(body[start:], _INFLATED_MAX)
    except zlib.error:
        content = b""
    parts[at] = Part(name, body[:start] + zlib.compress(change(content, len(content) + 64), 1))


def _double(parts: list[Part], rng: random.Random, _change: Change, _kind: bytes) -> None:
    at = _any(parts, rng)
    parts[at:at] = [parts[at]] * rng.choice((1, 1, 1, 2, 20))


def _drop(parts: list[Part], rng: random.Random, _change: Change, _kind: bytes) -> None:
    if len(parts) > 2:
        del parts[_any(parts, rng)]


def _swap(parts: list[Part], rng: random.Random, _change: Change, _kind: bytes) -> None:
    one, other = _any(parts, rng), _any(parts, rng)
    parts[one], parts[other] = parts[other], parts[one]


def _invite(parts: list[Part], rng: random.Random, _change: Change, kind: bytes) -> None:
    guests = _GUESTS.get(kind) or _GUESTS[kind[:3]]
    parts.insert(_any(parts, rng), rng.choice(guests))


def _any(parts: list[Part], rng: random.Random) -> int:
    """But not what stands in front of a PNG or JPEG: without that it is of no format."""
    first = 0 if parts[0].name else 1
    return rng.randrange(first, len(parts)) if len(parts) > first else 0


_STEPS: Final = (_body, _body, _number, _number, _inflated, _inflated, _double, _drop, _swap, _invite)
