"""Whether a run's pictures can be trained on: every pair is checked once, before the first step.

In: the run's splits and backgrounds. Out: nothing, where all of them can be used; else what is wrong, in the words of
`inspect`, and a DataError. Masks are decoded, of photos and backgrounds only headers and ends are read. What was seen
is kept in a file by the files' paths, sizes and times: a run that is taken up again looks only at what changed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console, Group
from rich.progress import track

from training.data.dataset import Pair, Split
from training.data.findings import AllowableProblem, Finding, FindingKind
from training.data.images import PHOTO_FORMATS, DataError, ImageError, read_header
from training.inspection.inspect import duplicate_stems
from training.inspection.pair_checks import Depth, check_pair
from training.inspection.view import findings_by_kind

# Of how pairs are checked: what was found by other rules is looked for anew.
RULES_VERSION: Final = 1

# (kind, file, what) of each finding
Seen = Sequence[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class _Item:
    """A pair, or a background, to look at; `key` tells of which files, of what size and age, it is made."""

    split: str
    files: Pair | Path
    key: str


def check_ready(
    splits: Sequence[Split],
    backgrounds: Sequence[Path],
    root: Path,
    cache_dir: Path,
    console: Console,
    allowed: frozenset[AllowableProblem] = frozenset(),
) -> None:
    """Check every pair below `root`, and keep what was found in a file in `cache_dir`. Problems of the kinds
    `allowed` are none. Raises DataError, after what is wrong was shown on `console`."""
    items = [_make_item(split.name, pair, root) for split in splits for pair in split.pairs]
    items += [_make_item("backgrounds", path, root) for path in backgrounds]
    seen = _check_items(items, root, _CheckedFile(cache_dir, root), console)
    # All splits of one's own data are in one folder, and have the same doubles.
    twice = {finding.file: finding for split in splits for finding in duplicate_stems(split, root)}
    problems = [
        Finding(FindingKind(kind), item.split, _stem(item), file, what)
        for item in items
        for kind, file, what in seen[item.key]
    ]
    kinds = frozenset(oddity.kind for oddity in allowed)
    problems = [each for each in (*twice.values(), *problems) if each.is_problem and each.kind not in kinds]
    if problems:
        console.print(Group(*findings_by_kind(problems)))
        raise DataError(_verdict(problems, len(items), root))


def _verdict(problems: Sequence[Finding], files: int, root: Path) -> str:
    bad = len({(each.split, each.stem) for each in problems})
    odd = [oddity for oddity in AllowableProblem if oddity.kind in {each.kind for each in problems}]
    message = f"{bad} of {files} pairs and backgrounds cannot be trained on as they are: put them right."
    if odd:
        options = " ".join(f"--allow {oddity}" for oddity in odd)
        message += f" What is meant to be so passes with {options}."
    return f"{message} `python -m training inspect {root}` looks at everything."


def _check_items(
    items: Sequence[_Item], root: Path, checked: _CheckedFile, console: Console
) -> Mapping[str, Seen]:
    """What is wrong with each item, by its key."""
    known = checked.read()
    unknown = [item for item in items if item.key not in known]
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda item: _check_item(item, root), unknown)
        shown = track(found, "check pairs", len(unknown), console=console, disable=not unknown)
        known |= {item.key: seen for item, seen in zip(unknown, shown, strict=True)}
    seen = {item.key: known[item.key] for item in items}
    if unknown:
        checked.write(seen)
    return seen


def _check_item(item: _Item, root: Path) -> Seen:
    if isinstance(item.files, Path):
        try:
            read_header(item.files, PHOTO_FORMATS)
        except ImageError as error:
            return [(error.kind.value, str(error.path), error.reason)]
        return []
    record = check_pair(item.files, item.split, root, depth=Depth.MASK)
    return [(finding.kind.value, finding.file, finding.what) for finding in record.findings]


def _stem(item: _Item) -> str:
    return item.files.stem


def _make_item(split: str, files: Pair | Path, root: Path) -> _Item:
    if isinstance(files, Pair):
        # Training looks at no trimap.
        files = Pair(files.stem, files.image, files.alpha)
    facts = [RULES_VERSION, str(root), *_facts(files)]
    return _Item(split, files, hashlib.sha256(repr(facts).encode()).hexdigest()[:32])


def _facts(files: Pair | Path) -> Iterator[tuple[str, int, int]]:
    for path in (files.image, files.alpha) if isinstance(files, Pair) else (files,):
        try:
            stat = path.stat()
        except OSError:  # a link that leads nowhere: the look at it says so
            yield str(path), 0, 0
        else:
            yield str(path), stat.st_size, stat.st_mtime_ns


class _CheckedFile:
    """What was seen of a data set before, in one file; without it everything is looked at again."""

    def __init__(self, folder: Path, root: Path) -> None:
        name = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
        self._path = folder / f"checked-{name}.json"

    def read(self) -> dict[str, Seen]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write(self, seen: Mapping[str, Seen]) -> None:
        """Whole or not at all: another host may be writing the same file."""
        partial = self._path.with_name(f"{self._path.name}.{os.getpid()}.partial")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(seen), encoding="utf-8")
            partial.replace(self._path)
        except OSError:
            return  # a full or read-only disk: the next start looks again
