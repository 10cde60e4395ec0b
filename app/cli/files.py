"""What was typed comes in, which file or folder is meant goes out. Reads and writes whole files. Knows no pixels.

`-` stands for standard input among the photos, and for standard output as the place to write to.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from app.files.names import FOREIGN, FORMATS, PHOTOS, address, suffix_of
from app.options import Format

STDIO: Final = Path("-")


class PathsError(Exception):
    """The photos and the place to write to do not go together. The message says why."""


def single_target(paths: Sequence[Path], out: Path) -> Path | None:
    """The file that `out` names for a single photo, or `-`; None where `out` is a folder. Raises PathsError."""
    _refuse_addresses(paths, out)
    for path in paths:
        if path != STDIO and not path.exists():
            raise PathsError(f"{path}: no such file or folder")
    alone = len(paths) == 1 and not paths[0].is_dir()
    if STDIO in paths and not alone:
        raise PathsError("- (standard input) must be the only photo; name no other one beside it")
    if out == STDIO and not alone:
        raise PathsError("-o - (standard output) takes a single photo; name a folder for several")
    if out.is_dir():
        if STDIO in paths:
            raise PathsError(f"{out} is a folder; a photo from standard input needs a file: -o FILE, or -o -")
        return None
    named_as_file = _names_a_picture(out) or out.is_file()
    if named_as_file and not alone:
        raise PathsError(f"{out} is a file's name; several photos need a folder")
    if not named_as_file and STDIO not in paths and out != STDIO:
        return None
    if out != STDIO and out.resolve() == paths[0].resolve():
        raise PathsError(f"{out} is the photo itself, which is never written over")
    return out


def format_of(target: Path | None, asked: Format | None) -> Format:
    """The format to write: the one asked for, else what the file's name says, else PNG. Raises PathsError."""
    named = FORMATS.get(suffix_of(target.name)) if target is not None else None
    if target is not None and named is None and _names_a_picture(target):
        written = f".{asked}" if asked else ".png, .webp, .avif, .jpg or .zip"
        raise PathsError(f"{target}: no {target.suffix} file is written; name a {written} file, or a folder")
    if named is not None and asked is not None and named != asked:
        raise PathsError(f"{target}: what is written is .{asked}; name a .{asked} file, or a folder")
    return asked or named or Format.PNG


def _names_a_picture(out: Path) -> bool:
    return suffix_of(out.name) in FORMATS.keys() | PHOTOS | FOREIGN


def _refuse_addresses(paths: Sequence[Path], out: Path) -> None:
    for path in paths:
        url = address(path)
        if url is not None and not path.exists():
            raise PathsError(f"{url}: nothing is fetched from addresses; {_instead(url)}")
    if (url := address(out)) is not None and not out.exists():
        raise PathsError(f"{url}: results go to files and folders; python -m app bulk writes to buckets")


def _instead(url: str) -> str:
    scheme, _, rest = url.partition("://")
    if scheme.lower() == "file":
        return f"name the file itself: /{rest}"
    if scheme.lower() in ("http", "https"):
        return f"fetch it first, as with curl -L '{url}' | python -m app matte - -o matte.png"
    return "fetch it first, or let python -m app bulk read the bucket"


def refuse_terminals(source: Path, target: Path) -> None:
    """Raise PathsError where a person would have to type a photo, or be shown its bytes."""
    if source == STDIO and sys.stdin.isatty():
        raise PathsError("no photo comes from standard input; send one: cat photo.jpg | python -m app ...")
    if target == STDIO and sys.stdout.isatty():
        raise PathsError("a picture is not written to a terminal; send it on: ... -o - > picture.png")


def read(source: Path) -> bytes:
    """All bytes of a photo. Raises OSError."""
    return sys.stdin.buffer.read() if source == STDIO else source.read_bytes()


def write(target: Path, data: bytes, note: Callable[[], None] = lambda: None) -> None:
    """Whole or not at all, even when interrupted. `note` is called when all is written, and before it can be seen.
    Raises OSError."""
    if target == STDIO:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # Hidden, and short however long the target's name is; the same each time, so that a crash leaves one at most.
    name = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    partial_file = target.with_name(f".u2matte-{name}.part")
    try:
        partial_file.write_bytes(data)
        note()
        partial_file.replace(target)
    except OSError:
        partial_file.unlink(missing_ok=True)  # On a full disk it would take the room that is left.
        raise
