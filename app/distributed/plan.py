"""Source and destination in, what is left to do out. Reads no pixels, and knows no Ray.

A result is done if it is there, made with the same key, not older than its photo, and not to be made anew.
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
from app.distributed.storage import Entry, Storage, StorageError, is_part, open_storage
from app.files import left_out, results
from app.files.results import LEDGER_FILE, LIST_FILE, MADE, Results

JOB_FILE: Final = "_u2matte.json"
"""What the results beside it are made with, and since when. Readers of Parquet pass over names beginning with `_`."""
BAD_ID: Final = "invalid_id"


@dataclass(frozen=True, slots=True)
class Plan:
    """`photos`: files to do. `groups`: row groups of Parquet files to do, less the ids in `done`. `count`: how many
    photos both are. `skipped`: done already. `refused`: will not be tried. `left_out`: files that are no photos, and
    why."""

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
    """Look at both, and get the destination ready. Raises StorageError, OSError."""
    target = open_storage(destination)
    found = find(source, recursive=recursive, but=target)
    if found.storage == target:
        raise StorageError(f"{destination} is where the photos are; name another place for the results")
    if isinstance(found, Photos) and not found.entries:
        raise StorageError(f"{source}: {left_out.nothing(found.left_out)}")
    in_rows = destination.rstrip("/").endswith(PARQUET)
    names = {}
    if isinstance(found, Photos):
        names = targets([entry.name for entry in found.entries], suffix)
        if not in_rows:
            _refuse_among(found.storage, target, names.values())
    there = _prepared(target, key, overwrite=overwrite)
    sink: Sink = Parquet(target) if in_rows else Files(target, anew=overwrite)
    done = _done_rows(target, there) if in_rows else set()
    files = {} if in_rows else {entry.name: entry.changed_ns for entry in there}
    if isinstance(found, Rows):
        done |= {each for each in found.ids if full_target(each, suffix) in files}
        if not in_rows:
            _note_results(target, (full_target(each, suffix) for each in found.ids))
        return _of_rows(found, sink, frozenset(done))
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


def _of_rows(found: Rows, sink: Sink, done: frozenset[str]) -> Plan:
    ids = found.ids
    if (double := twice(ids)) is not None:
        raise StorageError(f"the id {double!r} occurs more than once")
    bad = [] if isinstance(sink, Parquet) else [each for each in ids if not is_inside(each)]
    refused = [Outcome(each, BAD_ID, "The id is no name of a file inside a folder.") for each in bad]
    out = done | set(bad)
    groups = [group for group, inside in found.groups.items() if not out.issuperset(inside)]
    skipped = len(done.intersection(ids))
    count = len(ids) - skipped - len(bad)
    return Plan(found.storage, sink, (), groups, out, count, skipped, refused, found.left_out)


def _refuse_among(photos: Storage, target: Storage, names: Iterable[str]) -> None:
    """Raise StorageError if a result would come to lie among the photos, where it may be written over one."""
    if photos.files != target.files or not photos.root.startswith(f"{target.root}/"):
        return
    inside = f"{photos.root.removeprefix(f'{target.root}/')}/"
    if (name := next((each for each in names if each.startswith(inside)), None)) is not None:
        raise StorageError(
            f"{target.path(name)} would be among the photos; name another place for the results"
        )


def _note_results(target: Storage, names: Iterable[str]) -> None:
    """In the list of the destination, beside those of earlier jobs, so that nobody takes them for photos."""
    known = results.parse(target.read(LIST_FILE).decode()) if target.there([LIST_FILE]) else {}
    if new := [name for name in names if name not in known]:
        target.write(LIST_FILE, results.listed([*known, *new]).encode())


def _prepared(target: Storage, key: str, *, overwrite: bool) -> list[Entry]:
    """The results that are there and hold, without what a crash has left of some. Raises StorageError if they are
    made with something else."""
    since = _begun(target, key, overwrite=overwrite)
    there = []
    for entry in target.entries():
        is_old = entry.changed_ns is not None and entry.changed_ns < since
        if is_part(entry.name) or (is_old and _is_rows(entry.name)):
            target.delete(entry.name)
        elif not is_old:
            there.append(entry)
    return there


def _begun(target: Storage, key: str, *, overwrite: bool) -> int:
    """Since when results are made with `key`, in ns of this host's clock; 0: ever."""
    if target.there([JOB_FILE]) and not overwrite:
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
    """Ids that have a result. Rows with an error are taken out of their files, and tried again."""
    done: set[str] = set()
    for name in (entry.name for entry in there if _is_rows(entry.name)):
        path = target.path(name)
        rows = parquet.read_table(path, columns=["id", "error"], filesystem=target.files, partitioning=None)
        good = pc.is_null(rows["error"])
        done.update(rows["id"].filter(good).to_pylist())
        if not pc.all(good).as_py():
            whole = parquet.read_table(path, filesystem=target.files, partitioning=None)
            target.write(name, sinks.packed(whole.filter(good)))
    return done


def _is_newer(files: dict[str, int | None], name: str, photo: Entry) -> bool:
    if name not in files:
        return False
    made = files[name]
    return made is None or photo.changed_ns is None or made >= photo.changed_ns


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
    """Whether a file is the result of an earlier run, as `app.files.results` knows it."""
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
