"""Tell whether a file is the result of an earlier run. Knows no pixels.

Runs note the names and sizes of their results beside them: the plain commands in a journal, `bulk` in a list. A file
with a noted name is a result as long as it has the noted size. A photo that a user puts in its place is a photo.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

JOURNAL_FILE: Final = ".u2matte.jsonl"
"""Of the plain commands: a line `["<result below its folder>", "<mark>", <bytes>]` per result."""
LIST_FILE: Final = "_u2matte.jsonl"
"""Of `bulk`: a line `["<result below its folder>"]` per result, written before the result."""

MADE: Final = "made by an earlier run"
"""The reason for which results are left out."""

Notes = dict[str, set[int | None]]
"""Results by name, each with the sizes that it may have; None: any size."""


def parse(text: str) -> Notes:
    """Parse a journal or a list. Ignores a line that a crash cut off."""
    notes: Notes = {}
    for line in text.splitlines():
        try:
            name, *rest = json.loads(line)
        except (ValueError, TypeError):
            continue
        size = rest[1] if len(rest) > 1 else None
        notes.setdefault(str(name), set()).add(size if isinstance(size, int) else None)
    return notes


def listed(names: Iterable[str]) -> str:
    """The lines of a list."""
    return "".join(json.dumps([name]) + "\n" for name in names)


def is_noted(notes: Notes, name: str, size: Callable[[], int]) -> bool:
    """Whether a file with this name and size is a result."""
    sizes = notes.get(name)
    return sizes is not None and (None in sizes or size() in sizes)


def failure_line(path: str, code: str, detail: str) -> str:
    """A line of the list of failures: JSON, the same for the plain commands and for `bulk`."""
    return json.dumps({"path": path, "code": code, "detail": detail}) + "\n"


class Results:
    """The notes of all folders above a file."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[tuple[int, int], Notes]] = {}
        self._resolved: dict[Path, Path] = {}
        self._notes_above: dict[Path, Sequence[tuple[Path, Notes]]] = {}

    def refresh(self) -> None:
        """Forget the cached notes: other runs may have written since."""
        self._notes_above.clear()
        self._resolved.clear()

    def contains(self, file: Path, below: Path | None = None) -> bool:
        """Whether `file` is a result; only of runs that wrote to `below`, if given. Both are absolute.

        Checks the folders in its name, and those that links lead to: runs note names as they see them.
        """
        if self._contains(file, below):
            return True
        folder = self._resolved.get(file.parent)
        if folder is None:
            folder = self._resolved[file.parent] = file.parent.resolve()
        real = folder / file.name
        real = real.resolve() if real.is_symlink() else real
        return real != file and self._contains(real, below)

    def _contains(self, file: Path, below: Path | None) -> bool:
        try:
            return any(
                is_noted(notes, file.relative_to(folder).as_posix(), lambda: file.stat().st_size)
                for folder, notes in self._notes(file.parent)
                if below is None or folder.samefile(below)
            )
        except OSError:
            return False  # deleted since the scan

    def _notes(self, folder: Path) -> Sequence[tuple[Path, Notes]]:
        """The notes of `folder` and of all folders above it."""
        if folder not in self._notes_above:
            above = () if folder.parent == folder else self._notes(folder.parent)
            self._notes_above[folder] = (*self._own(folder), *above)
        return self._notes_above[folder]

    def _own(self, folder: Path) -> Iterator[tuple[Path, Notes]]:
        for name in (JOURNAL_FILE, LIST_FILE):
            path = folder / name
            try:
                stat = path.stat()
                stamp = (stat.st_mtime_ns, stat.st_size)
                if path not in self._read or self._read[path][0] != stamp:
                    self._read[path] = stamp, parse(path.read_text(encoding="utf-8", errors="replace"))
            except OSError:
                continue
            yield folder, self._read[path][1]
