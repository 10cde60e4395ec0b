"""A source and a destination come in, photos by name go out, each with the file to write, and what is left out.
Reads no pixels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

import pyarrow as pa
from fsspec.utils import glob_translate
from pyarrow import fs, parquet

from app.bulk.storage import Entry, Storage, StorageError, open_storage
from app.commands import left_out, results
from app.commands.results import LEDGER_FILE, LIST_FILE, MADE, Results

PARQUET: Final = ".parquet"
COLUMNS: Final = ("id", "bytes")
_BESIDE: Final = "beside Parquet, which alone is read"
_WILD: Final = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Photos:
    """Files of photos below a storage. `left_out`: other files there, and why."""

    storage: Storage
    entries: Sequence[Entry]
    left_out: Mapping[Path, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rows:
    """Row groups of Parquet files with the columns of COLUMNS, each by its file and number, and the ids in each.
    `left_out`: other files there, and why."""

    storage: Storage
    groups: dict[tuple[str, int], list[str]]
    left_out: Mapping[Path, str] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        """Of all rows."""
        return [each for group in self.groups.values() for each in group]


def find(source: str, *, recursive: bool = True, but: Storage | None = None) -> Photos | Rows:
    """What a path, a pattern or a URI names; nothing of `but`, a folder in it where results go. Raises StorageError,
    OSError."""
    storage = open_storage(source)
    info = storage.info()
    kind = info.type
    if kind == fs.FileType.NotFound and _WILD.search(source):
        return _matching(source, but)
    if kind == fs.FileType.NotFound:
        raise StorageError(f"{source}: no such file or folder")
    if kind == fs.FileType.File:
        path = PurePosixPath(storage.root)
        storage = Storage(storage.files, str(path.parent))
        if path.suffix == PARQUET:
            return _rows(storage, [path.name])
        return Photos(storage, [Entry(path.name, info.mtime_ns)])
    everything = storage.look()
    entries = [
        each for each in everything if _is_meant(each, storage, but) and (recursive or "/" not in each.name)
    ]
    tables = [each.name for each in entries if each.name.endswith(PARQUET) and not each.why]
    if not tables:
        return _photos(storage, entries, everything)
    others = (each for each in entries if each.name not in tables)
    return _rows(storage, tables, {Path(each.name): each.why or _BESIDE for each in others})


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


def _matching(source: str, but: Storage | None) -> Photos:
    start = _WILD.search(source)
    assert start is not None
    base = source[: source.rfind("/", 0, start.start()) + 1]
    storage = open_storage(base or ".")
    pattern = re.compile(glob_translate(source[len(base) :]))
    everything = storage.look()
    entries = [each for each in everything if _is_meant(each, storage, but) and pattern.match(each.name)]
    return _photos(storage, entries, everything)


def _photos(storage: Storage, entries: Sequence[Entry], everything: Sequence[Entry]) -> Photos:
    """Those of `entries` that are photos, and why the others are none."""
    is_result = _results(storage, everything)
    why = {each.name: each.why or left_out.foreign(each.name) or MADE * is_result(each) for each in entries}
    others = {Path(name): reason for name, reason in why.items() if reason}
    return Photos(storage, [each for each in entries if not why[each.name]], others)


def _results(storage: Storage, everything: Sequence[Entry]) -> Callable[[Entry], bool]:
    """Whether a file is the result of an earlier run, as `app.commands.results` knows it."""
    if storage.folder is not None:
        local, root = Results(), storage.folder
        return lambda entry: local.hold(root / entry.name)
    noted = [
        (path.parent, results.parse(storage.read(entry.name).decode(errors="replace")))
        for entry in everything
        if (path := PurePosixPath(entry.name)).name in (LEDGER_FILE, LIST_FILE)
    ]

    def is_result(entry: Entry) -> bool:
        path = PurePosixPath(entry.name)
        return any(
            results.holds(notes, str(path.relative_to(folder)), lambda: entry.size)
            for folder, notes in noted
            if path.is_relative_to(folder)
        )

    return is_result


def _rows(storage: Storage, names: Sequence[str], others: Mapping[Path, str] | None = None) -> Rows:
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
    return Rows(storage, groups, others or {})


def _is_meant(entry: Entry, storage: Storage, but: Storage | None) -> bool:
    """By whoever names the folder: no hidden file, and none of ours."""
    own = PurePosixPath(entry.name).name in left_out.OWN
    return not own and not _hidden(entry.name) and not _below(but, storage, entry.name)


def _hidden(name: str) -> bool:
    return any(part[0] == "." for part in name.split("/"))


def _below(but: Storage | None, storage: Storage, name: str) -> bool:
    """Whether a file is in `but`, where that is a folder of `storage` and not one above it."""
    if but is None or but.files != storage.files or f"{storage.root}/".startswith(f"{but.root}/"):
        return False
    return f"{storage.path(name)}/".startswith(f"{but.root}/")
