"""A source and a destination come in, photos by name go out, each with the file to write. Reads no pixels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import pyarrow as pa
from fsspec.utils import glob_translate
from pyarrow import fs, parquet

from app.bulk.storage import Entry, Storage, StorageError, open_storage
from app.commands.files import SUFFIXES

PARQUET: Final = ".parquet"
COLUMNS: Final = ("id", "bytes")
_WILD: Final = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Photos:
    """Files of photos below a storage."""

    storage: Storage
    entries: Sequence[Entry]


@dataclass(frozen=True, slots=True)
class Rows:
    """Row groups of Parquet files with the columns of COLUMNS, each by its file and number, and the ids in each."""

    storage: Storage
    groups: dict[tuple[str, int], list[str]]

    @property
    def ids(self) -> list[str]:
        """Of all rows."""
        return [each for group in self.groups.values() for each in group]


def find(source: str, *, recursive: bool = True, but: Storage | None = None) -> Photos | Rows:
    """What a path, a pattern or a URI names; nothing below `but`, where results go. Raises StorageError, OSError."""
    storage = open_storage(source)
    info = storage.info()
    kind = info.type
    if kind == fs.FileType.NotFound and _WILD.search(source):
        return _matching(source)
    if kind == fs.FileType.NotFound:
        raise StorageError(f"{source}: no such file or folder")
    if kind == fs.FileType.File:
        path = PurePosixPath(storage.root)
        storage = Storage(storage.files, str(path.parent))
        if path.suffix == PARQUET:
            return _rows(storage, [path.name])
        return Photos(storage, [Entry(path.name, info.mtime_ns)])
    entries = [each for each in storage.entries() if not _below(but, storage, each.name)]
    tables = [each.name for each in entries if each.name.endswith(PARQUET) and not _hidden(each.name)]
    if tables:
        return _rows(storage, tables)
    photos = [each for each in entries if _is_photo(each.name) and (recursive or "/" not in each.name)]
    return Photos(storage, photos)


def targets(names: Sequence[str], suffix: str) -> dict[str, str]:
    """The file for each photo: `a.jpg` becomes `a.png`, but `a.jpg.png` where another photo would get that too."""
    short = {name: str(PurePosixPath(name).with_suffix(suffix)) for name in names}
    while True:
        taken = Counter(target.casefold() for target in short.values())
        clash = [
            name
            for name, target in short.items()
            if taken[target.casefold()] > 1 and target != full_target(name, suffix)
        ]
        if not clash:
            return short
        short.update((name, full_target(name, suffix)) for name in clash)


def full_target(name: str, suffix: str) -> str:
    """The file for a photo whatever the others are called."""
    return name + suffix


def twice(ids: Iterable[str]) -> str | None:
    """An id that occurs more than once, if one does."""
    return next((name for name, count in Counter(ids).items() if count > 1), None)


def is_inside(name: str) -> bool:
    """Whether a row's id is the name of a file below a folder, and of none outside."""
    return bool(name) and name[0] != "/" and not {"", ".", ".."} & set(name.split("/")) and "\0" not in name


def _matching(source: str) -> Photos:
    start = _WILD.search(source)
    assert start is not None
    base = source[: source.rfind("/", 0, start.start()) + 1]
    storage = open_storage(base or ".")
    pattern = re.compile(glob_translate(source[len(base) :]))
    return Photos(
        storage, [each for each in storage.entries() if _is_photo(each.name) and pattern.match(each.name)]
    )


def _rows(storage: Storage, names: Sequence[str]) -> Rows:
    groups = {}
    for name in names:
        path = storage.path(name)
        try:
            with storage.files.open_input_file(path) as stream:
                table = parquet.ParquetFile(stream)
                if missing := set(COLUMNS).difference(table.schema_arrow.names):
                    raise StorageError(f"{path} has no column {' and no column '.join(sorted(missing))}")
                for number in range(table.num_row_groups):
                    ids = table.read_row_group(number, columns=["id"])["id"]
                    groups[name, number] = [str(each) for each in ids.to_pylist()]
        except pa.ArrowInvalid as error:
            raise StorageError(f"{path}: {error}") from None
    return Rows(storage, groups)


def _is_photo(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES and not _hidden(name)


def _hidden(name: str) -> bool:
    return any(part[0] == "." for part in name.split("/"))


def _below(but: Storage | None, storage: Storage, name: str) -> bool:
    return (
        but is not None and but.files == storage.files and f"{storage.path(name)}/".startswith(but.root + "/")
    )
