"""File names: formats by suffix, names cut to the allowed length, names made safe to print. Reads no file."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import Path, PurePath
from typing import Final

from app.options import Format

_JPEG: Final = (".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp")
PHOTOS: Final = frozenset(
    {*_JPEG, ".png", ".apng", ".webp", ".heic", ".heif", ".hif", ".avif", ".tif", ".tiff", ".bmp", ".gif"}
)
"""Suffixes of the formats that are read."""
FORMATS: Final[dict[str, Format]] = {
    ".png": Format.PNG,
    ".webp": Format.WEBP,
    ".avif": Format.AVIF,
    ".zip": Format.ZIP,
    **dict.fromkeys(_JPEG, Format.JPG),
}
"""Suffixes of results, and their formats."""
FOREIGN: Final = frozenset(
    (
        ".arw", ".avi", ".avifs", ".cr2", ".cr3", ".cur", ".dng", ".eps", ".exr",
        ".hdr", ".heics", ".heifs", ".ico", ".j2k", ".jp2", ".jpf", ".jpx", ".jxl",
        ".mov", ".mp4", ".nef", ".orf", ".pbm", ".pdf", ".pgm", ".pnm", ".ppm", ".psd", ".qoi", ".raf",
        ".rw2", ".svg", ".svgz", ".tga", ".webm", ".xcf",
    )
)  # fmt: skip
"""Suffixes of pictures and films that the program does not write: a result of such a name is meant as a file, not a
folder."""

NAME_MAX: Final = 255
"""Bytes of a file name, the limit of all common file systems."""
_ADDRESS: Final = re.compile(r"([a-z][a-z0-9+.-]+):/+(?=[^/])", re.IGNORECASE)


def suffix_of(name: str) -> str:
    """The suffix in lower case, with its dot; "" if there is none."""
    return PurePath(name).suffix.lower()


def fitting(stem: str, suffix: str) -> str:
    """The name `stem` + `suffix`, cut to NAME_MAX; a cut name contains a digest, so that two long stems stay
    different."""
    if len(os.fsencode(stem + suffix)) <= NAME_MAX:
        return stem + suffix
    end = f"~{hashlib.sha256(os.fsencode(stem)).hexdigest()[:8]}{suffix}"
    while len(os.fsencode(stem + end)) > NAME_MAX:
        stem = stem[:-1]
    return stem + end


def shown(path: Path) -> str:
    """The path for messages and logs: on one line, without control characters."""
    return "".join(
        char.encode("unicode_escape", "surrogatepass").decode()
        if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
        else char
        for char in str(path)
    )


def address(path: Path) -> str | None:
    """The URL that was given as a path (`Path` removes its second slash), or None for a path."""
    found = _ADDRESS.match(str(path))
    return None if found is None else f"{found[1]}://{str(path)[found.end() :]}"
