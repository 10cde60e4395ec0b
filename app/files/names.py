"""What names of files say: what is in a file, whether a name has room, how it is shown. Reads no file."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import Path, PurePath
from typing import Final

from app.options import Format

_JPEG: Final = (".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp")
PHOTOS: Final = frozenset({*_JPEG, ".png", ".apng", ".webp"})
"""Under which names JPEG, PNG and WebP are found."""
FORMATS: Final[dict[str, Format]] = {
    ".png": Format.PNG,
    ".webp": Format.WEBP,
    ".zip": Format.ZIP,
    **dict.fromkeys(_JPEG, Format.JPG),
}
"""Under which names results are written."""
FOREIGN: Final = frozenset(
    (
        ".arw", ".avi", ".avif", ".avifs", ".bmp", ".cr2", ".cr3", ".cur", ".dng", ".eps", ".exr", ".gif",
        ".hdr", ".heic", ".heics", ".heif", ".heifs", ".hif", ".ico", ".j2k", ".jp2", ".jpf", ".jpx", ".jxl",
        ".mov", ".mp4", ".nef", ".orf", ".pbm", ".pdf", ".pgm", ".pnm", ".ppm", ".psd", ".qoi", ".raf",
        ".rw2", ".svg", ".svgz", ".tga", ".tif", ".tiff", ".webm", ".xcf",
    )
)  # fmt: skip
"""Pictures and films that nobody here writes: who names a result so means a file, not a folder."""

NAME_MAX: Final = 255
"""Bytes of a file's name, on all file systems in common use."""
_ADDRESS: Final = re.compile(r"([a-z][a-z0-9+.-]+):/+(?=[^/])", re.IGNORECASE)


def suffix_of(name: str) -> str:
    """In small letters, with its dot; "" where there is none."""
    return PurePath(name).suffix.lower()


def fitting(stem: str, suffix: str) -> str:
    """The name `stem` + `suffix`, cut to NAME_MAX, with a digest in it then, so that two long stems stay two."""
    if len(os.fsencode(stem + suffix)) <= NAME_MAX:
        return stem + suffix
    end = f"~{hashlib.sha256(os.fsencode(stem)).hexdigest()[:8]}{suffix}"
    while len(os.fsencode(stem + end)) > NAME_MAX:
        stem = stem[:-1]
    return stem + end


def shown(path: Path) -> str:
    """For people and logs: on one line, and without what would steer a terminal."""
    return "".join(
        char.encode("unicode_escape", "surrogatepass").decode()
        if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
        else char
        for char in str(path)
    )


def address(path: Path) -> str | None:
    """The URL that was typed where a path belongs; its second slash is lost in a `Path`. None: it is a path."""
    found = _ADDRESS.match(str(path))
    return None if found is None else f"{found[1]}://{str(path)[found.end() :]}"
