"""A file comes in; out goes whether an earlier run has made it. Knows no pixels.

Runs note beside their results what they are called, and how large: the plain commands in a ledger, `bulk` in a list.
A file of a noted name counts as a result while it has the noted size. Whoever lays a photo of their own in its place
has a photo there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

LEDGER_FILE: Final = ".u2matte.jsonl"
"""Of the plain commands: a line `["<result below its folder>", "<mark>", <bytes>]` for each."""
LIST_FILE: Final = "_u2matte.jsonl"
"""Of `bulk`: a line `["<result below its folder>"]` for each, noted before it is made."""

MADE: Final = "made by an earlier run"
"""Why a result is left out."""

Notes = dict[str, set[int | None]]
"""Results by name, each with all sizes that it may have; None: any."""


def parse(text: str) -> Notes:
    """The lines of a ledger or a list. One that was cut off by a crash counts as none."""
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


def holds(notes: Notes, name: str, size: Callable[[], int]) -> bool:
    """Whether `name`, of a file so large, is a result."""
    sizes = notes.get(name)
    return sizes is not None and (None in sizes or size() in sizes)


def failure_line(path: str, code: str, detail: str) -> str:
    """Of a list of failures: JSON, the same for the plain commands and for `bulk`."""
    return json.dumps({"path": path, "code": code, "detail": detail}) + "\n"


class Results:
    """Of all folders that a file is below."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[tuple[int, int], Notes]] = {}
        self._real: dict[Path, Path] = {}
        self._above: dict[Path, Sequence[tuple[Path, Notes]]] = {}

    def look_again(self) -> None:
        """Other runs may have written meanwhile."""
        self._above.clear()
        self._real.clear()

    def hold(self, file: Path, below: Path | None = None) -> bool:
        """Whether `file` is a result; of runs that wrote to `below`, if that is given. Both absolute.

        By the folders of its name and by those that links lead to: runs note names as they see them.
        """
        if self._hold(file, below):
            return True
        folder = self._real.get(file.parent)
        if folder is None:
            folder = self._real[file.parent] = file.parent.resolve()
        real = folder / file.name
        real = real.resolve() if real.is_symlink() else real
        return real != file and self._hold(real, below)

    def _hold(self, file: Path, below: Path | None) -> bool:
        try:
            return any(
                holds(notes, file.relative_to(folder).as_posix(), lambda: file.stat().st_size)
                for folder, notes in self._notes(file.parent)
                if below is None or folder.samefile(below)
            )
        except OSError:
            return False  # Gone since the look.

    def _notes(self, folder: Path) -> Sequence[tuple[Path, Notes]]:
        """Those of `folder` and of all above it."""
        if folder not in self._above:
            above = () if folder.parent == folder else self._notes(folder.parent)
            self._above[folder] = (*self._own(folder), *above)
        return self._above[folder]

    def _own(self, folder: Path) -> Iterator[tuple[Path, Notes]]:
        for name in (LEDGER_FILE, LIST_FILE):
            path = folder / name
            try:
                stat = path.stat()
                stamp = (stat.st_mtime_ns, stat.st_size)
                if path not in self._read or self._read[path][0] != stamp:
                    self._read[path] = stamp, parse(path.read_text(encoding="utf-8", errors="replace"))
            except OSError:
                continue
            yield folder, self._read[path][1]
