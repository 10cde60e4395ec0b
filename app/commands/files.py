"""Paths come in, which photo goes into which file goes out. Reads and writes whole files. Knows no pixels.

`-` stands for standard input among the photos, and for standard output as the place to write to.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from app.commands.wish import Format

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})
FORMATS: Final[dict[str, Format]] = {
    ".png": "png",
    ".webp": "webp",
    ".jpg": "jpg",
    ".jpeg": "jpg",
    ".zip": "zip",
}
STDIO: Final = Path("-")

Job = tuple[Path, Path]
"""A photo, and the file to write."""


class PathsError(Exception):
    """The photos and the place to write to do not go together. The message says why."""


class Plan:
    """Which photo goes into which file below `out_dir`; folders keep their inner structure there.

    No two photos share a file and none is written over: where `a.png` is taken, `a.jpg` becomes `a.jpg.png`, then
    `a.jpg-2.png` and so on. Files and folders whose name begins with a dot are no photos, unless named themselves.
    """

    def __init__(
        self, paths: Sequence[Path], out_dir: Path, suffix: str = ".png", *, recursive: bool = True
    ) -> None:
        self._paths = paths
        self._out_dir = out_dir
        self._suffix = suffix
        self._recursive = recursive
        self._targets: dict[Path, Path] = {}
        self._real: dict[Path, Path] = {}
        self._taken: set[str] = set()

    def look(self) -> list[Job]:
        """All photos that are there now. Each keeps the file that an earlier look gave it."""
        found: dict[Path, tuple[Path, Path]] = {}
        for source, folder in self._sources():
            real = self._real.setdefault(source, source.resolve())
            found.setdefault(real, (source, folder))
        written = {_key(target) for target in self._targets.values()}
        self._taken |= {_key(real) for real in found.keys() - self._targets.keys()}
        jobs = []
        for real, (source, folder) in found.items():
            if real not in self._targets:
                if _key(real) in written:
                    continue
                self._targets[real] = self._free(folder, source)
            jobs.append((source, self._targets[real]))
        return jobs

    def _sources(self) -> Iterator[tuple[Path, Path]]:
        for path in self._paths:
            if not path.is_dir():
                yield path, self._out_dir
                continue
            for source in sorted(self._photos(path)):
                yield source, self._out_dir / source.parent.relative_to(path)

    def _photos(self, folder: Path) -> Iterator[Path]:
        """The results of earlier runs in an `out_dir` below `folder` are left out."""
        out_dir = self._out_dir.resolve()
        for place, folders, names in os.walk(folder):
            folders[:] = [
                name
                for name in folders
                if self._recursive and name[0] != "." and Path(place, name).resolve() != out_dir
            ]
            for name in names:
                path = Path(place, name)
                if path.suffix.lower() in SUFFIXES and name[0] != "." and _is_file(path):
                    yield path

    def _free(self, folder: Path, source: Path) -> Path:
        number = 1
        target = folder / f"{source.stem}{self._suffix}"
        while _key(target) in self._taken:
            name = source.name if number == 1 else f"{source.name}-{number}"
            target = folder / f"{name}{self._suffix}"
            number += 1
        self._taken.add(_key(target))
        return target


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False  # In a folder that may be listed but not entered.


def _key(path: Path) -> str:
    return str(path.resolve()).casefold()  # Some file systems take "A.png" and "a.png" for one.


def single_target(paths: Sequence[Path], out: Path) -> Path | None:
    """The file that `out` names for a single photo, or `-`; None where `out` is a folder. Raises PathsError."""
    for path in paths:
        if path != STDIO and not path.exists():
            raise PathsError(f"{path}: no such file or folder")
    alone = len(paths) == 1 and not paths[0].is_dir()
    if STDIO in paths and not alone:
        raise PathsError("- (standard input) stands alone: no other photo beside it")
    if out == STDIO and not alone:
        raise PathsError("-o - (standard output) takes a single photo; name a folder for several")
    if out.is_dir():
        if STDIO in paths:
            raise PathsError(f"{out} is a folder; a photo from standard input needs a file: -o FILE, or -o -")
        return None
    named_as_file = out.suffix.lower() in FORMATS or out.is_file()
    if named_as_file and not alone:
        raise PathsError(f"{out} is a file's name; several photos need a folder")
    if not named_as_file and STDIO not in paths and out != STDIO:
        return None
    if out != STDIO and out.resolve() == paths[0].resolve():
        raise PathsError(f"{out} is the photo itself, which is never written over")
    return out


def format_of(target: Path | None, asked: Format | None) -> Format:
    """The format to write: the one asked for, else what the file's name says, else PNG. Raises PathsError."""
    named = FORMATS.get(target.suffix.lower()) if target is not None else None
    if named is not None and asked is not None and named != asked:
        raise PathsError(f"{target} is not the name of a {asked} file")
    return asked or named or "png"


def refuse_terminals(source: Path, target: Path) -> None:
    """Raise PathsError where a person would have to type a photo, or be shown its bytes."""
    if source == STDIO and sys.stdin.isatty():
        raise PathsError("no photo comes from standard input; send one: cat photo.jpg | python -m app ...")
    if target == STDIO and sys.stdout.isatty():
        raise PathsError("a picture is not written to a terminal; send it on: ... -o - > picture.png")


def read(source: Path) -> bytes:
    """All bytes of a photo. Raises OSError."""
    return sys.stdin.buffer.read() if source == STDIO else source.read_bytes()


def write(target: Path, data: bytes) -> None:
    """Whole or not at all, even when interrupted. Raises OSError."""
    if target == STDIO:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial_file = target.with_name(target.name + ".part")
    try:
        partial_file.write_bytes(data)
        partial_file.replace(target)
    except OSError:
        partial_file.unlink(missing_ok=True)  # On a full disk it would take the room that is left.
        raise
