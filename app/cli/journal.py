"""What of a folder of results is done: each file with a digest of what it was made of. Knows no pixels.

The modification times of photo and result alone would not tell: the options may be others now, a photo may have been
replaced by an older one, or its name's turn may have come to another photo of the same stem.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.cli.files import write
from app.files.results import JOURNAL_FILE

_STALE_LINES_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Entry:
    """Of the result `name`. `size`: in bytes; None in ledgers of old."""

    name: str
    mark: str
    size: int | None

    def line(self) -> str:
        return json.dumps([self.name, self.mark, self.size]) + "\n"


class Journal:
    """The journal of `out_dir`, for results that are made as `key` says. Raises OSError.

    Of a result's lines the last one holds. A line that was cut off by a crash counts as none, so that its photo is
    done anew.
    """

    def __init__(self, out_dir: Path, key: str) -> None:
        self._out_dir = out_dir
        self._path = out_dir / JOURNAL_FILE
        self._key = key
        text = self._path.read_text(encoding="utf-8", errors="replace") if self._path.exists() else ""
        lines = text.splitlines()
        self._entries = {entry.name: entry for line in lines if (entry := _entry(line)) is not None}
        torn = bool(text) and text[-1] != "\n"  # The next line would be lost with the one that was cut off.
        if torn or len(lines) - len(self._entries) > _STALE_LINES_MAX:
            write(self._path, "".join(entry.line() for entry in self._entries.values()).encode())

    def mark(self, photo: Path) -> str:
        """What a result of `photo`, as it is now, would be made of."""
        stat = photo.stat()
        what = json.dumps([photo.name, stat.st_size, stat.st_mtime_ns, self._key])
        return hashlib.sha256(what.encode()).hexdigest()[:32]

    def has(self, photo: Path, target: Path) -> bool:
        """Whether `target` is there and was made of just this. A photo that is gone is not done."""
        known = self._entries.get(self._name(target))
        try:
            return (
                known is not None
                and target.is_file()
                and known.size in (None, target.stat().st_size)
                and known.mark == self.mark(photo)
            )
        except OSError:
            return False

    def add(self, target: Path, mark: str, size: int) -> None:
        """Note that `target` is about to be there, with `size` bytes: before it is, so that after a crash it is never
        taken for a photo. Safe in threads, and beside other processes."""
        entry = _Entry(self._name(target), mark, size)
        self._entries[entry.name] = entry
        with self._path.open("a", encoding="utf-8") as file:
            file.write(entry.line())

    def _name(self, target: Path) -> str:
        return target.relative_to(self._out_dir).as_posix()


def _entry(line: str) -> _Entry | None:
    try:
        name, mark, *rest = json.loads(line)
    except (ValueError, TypeError):
        return None
    return _Entry(str(name), str(mark), rest[0] if rest and isinstance(rest[0], int) else None)
