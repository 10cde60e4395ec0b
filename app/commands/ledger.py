"""What of a folder of results is done: each file with a digest of what it was made of. Knows no pixels.

The modification times of photo and result alone would not tell: the options may be others now, a photo may have been
replaced by an older one, or its name's turn may have come to another photo of the same stem.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

from app.commands.files import write

LEDGER_FILE: Final = ".u2matte.jsonl"
_STALE_LINES_MAX: Final = 1_000


class Ledger:
    """The ledger of `out_dir`, for results that are made as `key` says. Raises OSError.

    A line is `["<result below out_dir>", "<mark>"]`; the last one of a result holds. A line that was cut off by a
    crash counts as none, so that its photo is done anew.
    """

    def __init__(self, out_dir: Path, key: str) -> None:
        self._out_dir = out_dir
        self._path = out_dir / LEDGER_FILE
        self._key = key
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        self._marks = dict(entry for line in lines if (entry := _entry(line)) is not None)
        if len(lines) - len(self._marks) > _STALE_LINES_MAX:
            write(self._path, "".join(map(_line, self._marks.items())).encode())

    def mark(self, photo: Path) -> str:
        """What a result of `photo`, as it is now, would be made of."""
        stat = photo.stat()
        what = json.dumps([photo.name, stat.st_size, stat.st_mtime_ns, self._key])
        return hashlib.sha256(what.encode()).hexdigest()[:32]

    def has(self, photo: Path, target: Path) -> bool:
        """Whether `target` is there and was made of just this. A photo that is gone is not done."""
        known = self._marks.get(self._name(target))
        try:
            return known is not None and target.is_file() and known == self.mark(photo)
        except OSError:
            return False

    def add(self, target: Path, mark: str) -> None:
        """Note that `target` was written. Safe in threads, and beside other processes."""
        entry = (self._name(target), mark)
        self._marks[entry[0]] = mark
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(entry))

    def _name(self, target: Path) -> str:
        return target.relative_to(self._out_dir).as_posix()


def _line(entry: tuple[str, str]) -> str:
    return json.dumps(entry) + "\n"


def _entry(line: str) -> tuple[str, str] | None:
    try:
        name, mark = json.loads(line)
    except (ValueError, TypeError):
        return None
    return str(name), str(mark)
