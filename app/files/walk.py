"""Walk a folder: all files below it, also behind links. Knows no photos.

Links are followed, so that everything a user sees in the folder is processed. A link to a folder above itself would
never end, so it is left out.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

LINKED_BACK: Final = "linked back to a folder above"
DEAD_LINK: Final = "linked to nothing"
UNREADABLE: Final = "not readable"
NOT_A_FILE: Final = "neither file nor folder"
_FOLDER: Final = "folder"


def walk(
    folder: Path, *, recursive: bool = True, hidden: bool = False, exclude: Path | None = None
) -> Iterator[tuple[Path, str]]:
    """Yield each file below `folder` with "", or with the reason why it is unavailable; also unavailable folders.

    `hidden`: include names that begin with a dot. `exclude`: a folder that is skipped, as `Path.resolve` returns it.
    """
    pending: list[tuple[Path, tuple[Path, ...]]] = [(folder, (folder.resolve(),))]
    while pending:
        current, above = pending.pop()
        try:
            with os.scandir(current) as entries:
                visible = [entry for entry in entries if hidden or entry.name[0] != "."]
        except OSError:
            yield current, UNREADABLE
            continue
        for entry in visible:
            path = current / entry.name
            why = _why_not(entry)
            if why != _FOLDER:
                yield path, why
            elif recursive:
                real = path.resolve() if entry.is_symlink() else above[-1] / entry.name
                if real in above:
                    yield path, LINKED_BACK
                elif real != exclude:
                    pending.append((path, (*above, real)))


def _why_not(entry: os.DirEntry[str]) -> str:
    """ "" for a file, `_FOLDER` for a folder, both also behind a link; else the reason why it is unavailable."""
    try:
        if entry.is_dir():
            return _FOLDER
        if entry.is_file():
            return ""
    except OSError as error:
        return DEAD_LINK if error.errno == errno.ELOOP else UNREADABLE
    return DEAD_LINK if entry.is_symlink() else NOT_A_FILE
