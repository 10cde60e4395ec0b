"""The bytes of a GIF file come in, its first picture as a file of its own goes out. Knows no decoder.

Comments and films are left out: Pillow joins comments by copying what it has so far, once for each of millions.
"""

from __future__ import annotations

import struct
from typing import Final

from app.imaging.picture_file import PictureFile

MAGICS: Final = (b"GIF87a", b"GIF89a")
# Blocks and sub-blocks of the whole file. Writers fill sub-blocks with 255 bytes.
PARTS_MAX: Final = 300_000
_EXTENSION, _PICTURE, _END = 0x21, 0x2C, 0x3B
_CONTROL: Final = 0xF9
_HEADER: Final = 13


def is_gif(data: bytes) -> bool:
    return data[:6] in MAGICS


def read(data: bytes) -> PictureFile:
    """Raises ValueError and its kin where the first picture is cut off, or where the parts are too many."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = _HEADER + _table(flags)
    kept: list[memoryview | bytes] = [memoryview(data)[:at]]
    control: memoryview | bytes = b""
    frames, left = 0, PARTS_MAX
    while at < len(data) and data[at] in (_EXTENSION, _PICTURE):
        start = at
        is_picture = data[at] == _PICTURE
        if is_picture:
            across, down, wide, high, flags = struct.unpack_from("<HHHHB", data, at + 1)
            at += 10 + _table(flags) + 1
        else:
            at += 2
        end, left = _sub_blocks(data, at, left)
        if end > len(data):
            break  # An animation that is cut off may still have its first picture.
        if is_picture:
            frames += 1
            if frames == 1:
                # As Pillow does: a picture that leaves its canvas makes it larger.
                width, height = max(width, across + wide), max(height, down + high)
                kept += [control, memoryview(data)[start:end], b"\x3b"]
        elif data[start + 1] == _CONTROL and not frames:
            control = memoryview(data)[start:end]
        at = end
    if not frames or not width or not height:
        raise ValueError("no picture")
    # Of the control before the picture: the fourth byte's last bit says that a colour is clear.
    transparent = bool(len(kept[1]) > 3 and kept[1][3] & 1)
    return PictureFile(width=width, height=height, pieces=kept, frames=frames, transparent=transparent)


def _table(flags: int) -> int:
    """Bytes of a colour table by the flags before it."""
    return 3 * (2 << (flags & 7)) if flags & 0x80 else 0


def _sub_blocks(data: bytes, at: int, left: int) -> tuple[int, int]:
    """Behind the empty block that ends them, more than the file's length where there is none; and how many parts the
    file may still have. Raises ValueError."""
    while at < len(data) and (size := data[at]):
        at += 1 + size
        left -= 1
        if left < 0:
            raise ValueError("too many parts")
    return at + 1, left - 1
