"""A folder comes in, all files below it go out, also behind links. Knows no photos.

Links are followed, so that what a person sees in the folder is done. One that leads back to a folder above itself
would never end, so it is left out.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

BACK: Final = "linked back to a folder above"
NOWHERE: Final = "linked to nothing"
UNREADABLE: Final = "not readable"
NO_FILE: Final = "neither file nor folder"
_FOLDER: Final = "folder"


def walk(
    folder: Path, *, recursive: bool = True, hidden: bool = False, but: Path | None = None
) -> Iterator[tuple[Path, str]]:
    """Each file below `folder`, and "" or why it cannot be had; folders, too, that cannot be had.

    `hidden`: also names that begin with a dot. `but`: a folder that is not entered, as `Path.resolve` gives it.
    """
    pending: list[tuple[Path, tuple[Path, ...]]] = [(folder, (folder.resolve(),))]
    while pending:
        place, above = pending.pop()
        try:
            with os.scandir(place) as entries:
                inside = [entry for entry in entries if hidden or entry.name[0] != "."]
        except OSError:
            yield place, UNREADABLE
            continue
        for entry in inside:
            path = place / entry.name
            why = _why_not(entry)
            if why != _FOLDER:
                yield path, why
            elif recursive:
                real = path.resolve() if entry.is_symlink() else above[-1] / entry.name
                if real in above:
                    yield path, BACK
                elif real != but:
                    pending.append((path, (*above, real)))


def _why_not(entry: os.DirEntry[str]) -> str:
    """Nothing for a file, `_FOLDER` for a folder, both also behind a link."""
    try:
        if entry.is_dir():
            return _FOLDER
        if entry.is_file():
            return ""
    except OSError as error:
        return NOWHERE if error.errno == errno.ELOOP else UNREADABLE
    return NOWHERE if entry.is_symlink() else NO_FILE
