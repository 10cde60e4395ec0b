"""Plan a bulk job: list the photos, and leave out those that are done. Reads no pixels, and knows no Ray.

A photo is done if its result exists, was made with the same key, and is not older than the photo, unless results are
to be overwritten.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from fsspec.utils import glob_translate
from pyarrow import fs, parquet

from app.distributed import sinks
from app.distributed.records import Outcome, Photo
from app.distributed.sinks import PART_NAME, Files, Parquet, Sink
from app.distributed.storage import Entry, Storage, StorageError, is_partial, open_storage
from app.files import left_out, results
from app.files.results import JOURNAL_FILE, LIST_FILE, MADE, Results

JOB_FILE: Final = "_u2matte.json"
"""What the results beside it are made with, and since when. Readers of Parquet ignore names that begin with `_`."""
BAD_ID: Final = "invalid_id"


@dataclass(frozen=True, slots=True)
class Plan:
    """`photos`: files to process. `groups`: row groups of Parquet files to process, except the ids in `done`.
    `count`: the number of photos in both. `skipped`: photos already done. `refused`: photos that will not be tried.
    `left_out`: files that are no photos, and why."""

    storage: Storage
    sink: Sink
    photos: Sequence[Photo] = ()
    groups: Sequence[tuple[str, int]] = ()
    done: frozenset[str] = frozenset()
    count: int = 0
    skipped: int = 0
    refused: Sequence[Outcome] = ()
    left_out: Mapping[Path, str] = field(default_factory=dict)


def make_plan(
    source: str, destination: str, *, suffix: str, key: str, recursive: bool = True, overwrite: bool = False
) -> Plan:
    """List source and destination, and prepare the destination. Raises StorageError, OSError."""
    target = open_storage(destination)
    found = find(source, recursive=recursive, exclude=target)
    if found.storage == target:
        raise StorageError(f"{destination} is where the photos are; name another place for the results")
    if isinstance(found, Photos) and not found.entries:
        raise StorageError(f"{source}: {left_out.nothing(found.left_out)}")
    in_rows = destination.rstrip("/").endswith(PARQUET)
    names = {}
    if isinstance(found, Photos):
        names = targets([entry.name for entry in found.entries], suffix)
        if not in_rows:
            _refuse_among_photos(found.storage, target, names.values())
    there = _prepare(target, key, overwrite=overwrite)
    sink: Sink = Parquet(target) if in_rows else Files(target, overwrite=overwrite)
    done = _done_rows(target, there) if in_rows else set()
    files = {} if in_rows else {entry.name: entry.changed_ns for entry in there}
    if isinstance(found, Rows):
        done |= {each for each in found.ids if full_target(each, suffix) in files}
        if not in_rows:
            _note_results(target, (full_target(each, suffix) for each in found.ids))
        return _plan_rows(found, sink, frozenset(done))
    if not in_rows:
        _note_results(target, names.values())
    left = [
        Photo(entry.name, names[entry.name])
        for entry in found.entries
        if entry.name not in done and not _is_newer(files, names[entry.name], entry)
    ]
    return Plan(
        found.storage,
        sink,
        left,
        count=len(left),
        skipped=len(found.entries) - len(left),
        left_out=found.left_out,
    )


def _plan_rows(found: Rows, sink: Sink, done: frozenset[str]) -> Plan:
    ids = found.ids
    if (duplicate := first_duplicate(ids)) is not None:
        raise StorageError(f"the id {duplicate!r} occurs more than once")
    bad = [] if isinstance(sink, Parquet) else [each for each in ids if not is_inside(each)]
    refused = [Outcome(each, BAD_ID, "The id is no name of a file inside a folder.") for each in bad]
    out = done | set(bad)
    groups = [group for group, inside in found.groups.items() if not out.issuperset(inside)]
    skipped = len(done.intersection(ids))
    count = len(ids) - skipped - len(bad)
    return Plan(found.storage, sink, (), groups, out, count, skipped, refused, found.left_out)


def _refuse_among_photos(photos: Storage, target: Storage, names: Iterable[str]) -> None:
    """Raise StorageError if a result would be written among the photos, where it might overwrite one."""
    if photos.files != target.files or not photos.root.startswith(f"{target.root}/"):
        return
    inside = f"{photos.root.removeprefix(f'{target.root}/')}/"
    if (name := next((each for each in names if each.startswith(inside)), None)) is not None:
        raise StorageError(
            f"{target.path(name)} would be among the photos; name another place for the results"
        )


def _note_results(target: Storage, names: Iterable[str]) -> None:
    """Add the names to the destination's list of results, so that they are never taken for photos."""
    known = results.parse(target.read(LIST_FILE).decode()) if target.existing([LIST_FILE]) else {}
    if new := [name for name in names if name not in known]:
        target.write(LIST_FILE, results.listed([*known, *new]).encode())


def _prepare(target: Storage, key: str, *, overwrite: bool) -> list[Entry]:
    """The valid results in the destination; partial files of a crash are deleted. Raises StorageError if results have
    another key."""
    since = _started_at(target, key, overwrite=overwrite)
    there = []
    for entry in target.entries():
        is_old = entry.changed_ns is not None and entry.changed_ns < since
        if is_partial(entry.name) or (is_old and _is_rows(entry.name)):
            target.delete(entry.name)
        elif not is_old:
            there.append(entry)
    return there


def _started_at(target: Storage, key: str, *, overwrite: bool) -> int:
    """Since when results are made with `key`, in ns of this host's clock; 0: always."""
    if target.existing([JOB_FILE]) and not overwrite:
        noted = json.loads(target.read(JOB_FILE))
        if noted["made_with"] != key:
            raise StorageError(
                f"{target.root} holds results of other options or another model; name another place, or --overwrite"
            )
        return int(noted["since_ns"])
    since = time.time_ns() if overwrite else 0
    target.write(JOB_FILE, json.dumps({"made_with": key, "since_ns": since}).encode())
    return since


def _is_rows(name: str) -> bool:
    return name.startswith(PART_NAME) and name.endswith(PARQUET)


def _done_rows(target: Storage, there: Sequence[Entry]) -> set[str]:
    """Ids that have a result. Rows with an error are removed from their files, to be tried again."""
    done: set[str] = set()
    for name in (entry.name for entry in there if _is_rows(entry.name)):
        path = target.path(name)
        rows = parquet.read_table(path, columns=["id", "error"], filesystem=target.files, partitioning=None)
        good = pc.is_null(rows["error"])
        done.update(rows["id"].filter(good).to_pylist())
        if not pc.all(good).as_py():
            whole = parquet.read_table(path, filesystem=target.files, partitioning=None)
            target.write(name, sinks.to_parquet(whole.filter(good)))
    return done


def _is_newer(files: dict[str, int | None], name: str, photo: Entry) -> bool:
    if name not in files:
        return False
    made = files[name]
    return made is None or photo.changed_ns is None or made >= photo.changed_ns


PARQUET: Final = ".parquet"
COLUMNS: Final = ("id", "bytes")
_BESIDE_PARQUET: Final = "beside Parquet, which alone is read"
_WILDCARD: Final = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Photos:
    """Photos as files below a storage. `left_out`: other files there, and why."""

    storage: Storage
    entries: Sequence[Entry]
    left_out: Mapping[Path, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rows:
    """Photos in row groups of Parquet files with the columns COLUMNS: the ids of each group, by its file and number.
    `left_out`: other files there, and why."""

    storage: Storage
    groups: dict[tuple[str, int], list[str]]
    left_out: Mapping[Path, str] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        """The ids of all rows."""
        return [each for group in self.groups.values() for each in group]


def find(source: str, *, recursive: bool = True, exclude: Storage | None = None) -> Photos | Rows:
    """Find what a path, a pattern or a URI names, except files in `exclude`, the folder of the results. Raises
    StorageError, OSError."""
    storage = open_storage(source)
    info = storage.info()
    kind = info.type
    if kind == fs.FileType.NotFound and _WILDCARD.search(source):
        return _match(source, exclude)
    if kind == fs.FileType.NotFound:
        raise StorageError(f"{source}: no such file or folder")
    if kind == fs.FileType.File:
        path = PurePosixPath(storage.root)
        storage = Storage(storage.files, str(path.parent))
        if path.suffix == PARQUET:
            return _rows(storage, [path.name])
        return Photos(storage, [Entry(path.name, info.mtime_ns)])
    all_files = storage.scan()
    entries = [
        each
        for each in all_files
        if _is_selected(each, storage, exclude) and (recursive or "/" not in each.name)
    ]
    tables = [each.name for each in entries if each.name.endswith(PARQUET) and not each.why]
    if not tables:
        return _photos(storage, entries, all_files)
    others = (each for each in entries if each.name not in tables)
    return _rows(storage, tables, {Path(each.name): each.why or _BESIDE_PARQUET for each in others})


def targets(names: Sequence[str], suffix: str) -> dict[str, str]:
    """The result's name for each photo: `a.jpg` becomes `a.png`, or `a.jpg.png` where two photos would get the
    same."""
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
    """The result's name for a photo, independent of other photos."""
    return name + suffix


def first_duplicate(ids: Iterable[str]) -> str | None:
    """An id that occurs more than once, if there is one."""
    return next((name for name, count in Counter(ids).items() if count > 1), None)


def is_inside(name: str) -> bool:
    """Whether a row's id is the name of a file below a folder, and none outside of it."""
    return bool(name) and name[0] != "/" and not {"", ".", ".."} & set(name.split("/")) and "\0" not in name


def _match(source: str, exclude: Storage | None) -> Photos:
    start = _WILDCARD.search(source)
    assert start is not None
    base = source[: source.rfind("/", 0, start.start()) + 1]
    storage = open_storage(base or ".")
    pattern = re.compile(glob_translate(source[len(base) :]))
    all_files = storage.scan()
    entries = [
        each for each in all_files if _is_selected(each, storage, exclude) and pattern.match(each.name)
    ]
    return _photos(storage, entries, all_files)


def _photos(storage: Storage, entries: Sequence[Entry], all_files: Sequence[Entry]) -> Photos:
    """Those of `entries` that are photos, and why the others are not."""
    is_result = _results(storage, all_files)
    why = {each.name: each.why or left_out.foreign(each.name) or MADE * is_result(each) for each in entries}
    others = {Path(name): reason for name, reason in why.items() if reason}
    return Photos(storage, [each for each in entries if not why[each.name]], others)


def _results(storage: Storage, all_files: Sequence[Entry]) -> Callable[[Entry], bool]:
    """A function that tells whether a file is the result of an earlier run, as `app.files.results` does."""
    if storage.folder is not None:
        local, root = Results(), storage.folder
        return lambda entry: local.contains(root / entry.name)
    noted = [
        (path.parent, results.parse(storage.read(entry.name).decode(errors="replace")))
        for entry in all_files
        if (path := PurePosixPath(entry.name)).name in (JOURNAL_FILE, LIST_FILE)
    ]

    def is_result(entry: Entry) -> bool:
        path = PurePosixPath(entry.name)
        return any(
            results.is_noted(notes, str(path.relative_to(folder)), lambda: entry.size)
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


def _is_selected(entry: Entry, storage: Storage, exclude: Storage | None) -> bool:
    """Whether the user means this file: not hidden, not one of ours, and not excluded."""
    own = PurePosixPath(entry.name).name in left_out.OWN
    return not own and not _hidden(entry.name) and not _is_excluded(exclude, storage, entry.name)


def _hidden(name: str) -> bool:
    return any(part[0] == "." for part in name.split("/"))


def _is_excluded(exclude: Storage | None, storage: Storage, name: str) -> bool:
    """Whether a file is in `exclude`, if that is a folder inside of `storage`."""
    if exclude is None or exclude.files != storage.files or f"{storage.root}/".startswith(f"{exclude.root}/"):
        return False
    return f"{storage.path(name)}/".startswith(f"{exclude.root}/")
