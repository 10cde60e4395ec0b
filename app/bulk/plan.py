"""Source and destination come in, what is left to do goes out. Reads no pixels, and knows no Ray.

A result is done if it is there, made with the same key, not older than its photo, and not to be made anew.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow.compute as pc
from pyarrow import parquet

from app.bulk import sinks, sources
from app.bulk.outcomes import Outcome, Photo
from app.bulk.sinks import PART_NAME, Files, Parquet, Sink
from app.bulk.sources import PARQUET, Photos, Rows
from app.bulk.storage import Entry, Storage, StorageError, is_part, open_storage
from app.commands import left_out, results
from app.commands.results import LIST_FILE

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
    found = sources.find(source, recursive=recursive, but=target)
    if found.storage == target:
        raise StorageError(f"{destination} is where the photos are; name another place for the results")
    if isinstance(found, Photos) and not found.entries:
        raise StorageError(f"{source}: {left_out.nothing(found.left_out)}")
    in_rows = destination.rstrip("/").endswith(PARQUET)
    names = {}
    if isinstance(found, Photos):
        names = sources.targets([entry.name for entry in found.entries], suffix)
        if not in_rows:
            _refuse_among(found.storage, target, names.values())
    there = _prepared(target, key, overwrite=overwrite)
    sink: Sink = Parquet(target) if in_rows else Files(target, anew=overwrite)
    done = _done_rows(target, there) if in_rows else set()
    files = {} if in_rows else {entry.name: entry.changed_ns for entry in there}
    if isinstance(found, Rows):
        done |= {each for each in found.ids if sources.full_target(each, suffix) in files}
        if not in_rows:
            _note_results(target, (sources.full_target(each, suffix) for each in found.ids))
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
    if (double := sources.twice(ids)) is not None:
        raise StorageError(f"the id {double!r} occurs more than once")
    bad = [] if isinstance(sink, Parquet) else [each for each in ids if not sources.is_inside(each)]
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
