"""A look at a data set before hours of training are spent on it: what is there, how large, and what is wrong.

In: a data set as `training.data.dataset` knows them. Out: an Inspection, small whatever the data set's size: files
are read a few at a time, and only counts, sizes and findings are kept. `view` shows it, `contact_sheet` shows the
pictures.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.progress import track

from training.data.dataset import (
    MASK_SUFFIXES,
    DatasetError,
    Files,
    Pair,
    Split,
    describe_suffixes,
    list_pairs,
    list_pictures,
    split_names,
)
from training.data.findings import Finding, FindingKind
from training.inspection.pair_checks import Depth, PairRecord, check_pair

# What P3M-10k has beside images and masks, in some copies.
BESIDE: Final = ("fg_blurred", "fg", "bg", "facemask")
_LEVELS: Final = ("", "validation", "P3M-10k", "P3M-10k/validation")
# Pairs that are submitted at once: an interrupt waits for these and no more.
_GROUP: Final = 64


@dataclass(frozen=True, slots=True)
class Spread:
    least: float
    median: float
    most: float
    mean: float


@dataclass(frozen=True, slots=True)
class SplitInspection:
    """Counts are of whole pairs but for `images_without_mask` and `masks_without_image`, which are of the split's
    folder. `trimaps` is None where the split has no such folder; `beside` is, per optional
    folder that exists, how many pairs have a file there. Sizes are in pixels and megapixels, of images that could
    be read; `several_channels` counts masks. `soft` (a share, as PairRecord defines it) and `foreground` (the mean
    alpha) are None without decoding."""

    name: str
    pairs: int
    images_without_mask: int
    masks_without_image: int
    trimaps: int | None
    beside: Mapping[str, int]
    height: Spread | None
    width: Spread | None
    megapixels: Spread | None
    several_channels: int
    soft: float | None
    foreground: float | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """`absent` are the splits whose folder is not there, which is no problem. `decoded` is false if only headers
    were read."""

    decoded: bool
    splits: tuple[SplitInspection, ...]
    absent: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """What should be put right before training."""
        return tuple(finding for finding in self.findings if finding.is_problem)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is worth a look."""
        return tuple(finding for finding in self.findings if not finding.is_problem)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True) + "\n"


def inspect(root: Path, *, decode: bool = True, console: Console | None = None) -> Inspection:
    """Look at every split below `root`: with `decode` at each pixel, else at file headers and ends only.

    Shows a bar per split on `console`. Raises DatasetError if there is no split with a pair.
    """
    splits, findings = find_splits(root)
    inspected = []
    with ThreadPoolExecutor() as pool:
        for split in splits:
            checked = _checked(split, root, pool, decode=decode)
            shown = track(checked, split.name, len(split.pairs), console=console, disable=console is None)
            records = list(shown)
            inspected.append(_summarise(split, records))
            findings += [finding for record in records for finding in record.findings]
    # All splits of one's own data are in one folder.
    for split in {_folder(split): split for split in reversed(splits)}.values():
        findings += _listing_findings(split, root)
    findings += _repeated_photos(splits, root)
    present = {split.name for split in splits} | {finding.split for finding in findings}
    absent = tuple(name for name in split_names(root) if name not in present)
    return Inspection(decode, tuple(inspected), absent, tuple(findings))


def _checked(split: Split, root: Path, pool: ThreadPoolExecutor, *, decode: bool) -> Iterator[PairRecord]:
    depth = Depth.ALL if decode else Depth.HEADERS
    check = partial(check_pair, split=split.name, root=root, depth=depth)
    for i in range(0, len(split.pairs), _GROUP):
        yield from pool.map(check, split.pairs[i : i + _GROUP])


def find_splits(root: Path) -> tuple[list[Split], list[Finding]]:
    """The splits that have pairs, and a finding for each that is there without. Raises DatasetError if none has."""
    splits, findings, reasons = [], [], []
    for name in split_names(root):
        try:
            splits.append(list_pairs(root, name))
        except DatasetError as error:
            reasons.append(str(error))
            if folder := next((place for level in _LEVELS if (place := root / level / name).is_dir()), None):
                file = folder.relative_to(root).as_posix()
                findings.append(Finding(FindingKind.NO_PAIR, name, "", file, str(error)))
    if not splits:
        half_there = [finding.what for finding in findings]
        raise DatasetError("; ".join(half_there or reasons[:1]))
    return splits, findings


def _summarise(split: Split, records: Sequence[PairRecord]) -> SplitInspection:
    sizes = [record.size for record in records if record.size]
    soft = [record.soft for record in records if record.soft is not None]
    foreground = [record.foreground for record in records if record.foreground is not None]
    trimaps = sum(pair.trimap is not None for pair in split.pairs)
    folder, stems = _folder(split), {pair.stem for pair in split.pairs}
    return SplitInspection(
        name=split.name,
        pairs=len(split.pairs),
        images_without_mask=len(split.images_without_alpha),
        masks_without_image=len(split.alphas_without_image),
        trimaps=trimaps if (folder / "trimap").is_dir() else None,
        beside={
            name: len(stems & {path.stem for path in list_pictures(folder / name, MASK_SUFFIXES)})
            for name in BESIDE
            if (folder / name).is_dir()
        },
        height=_spread([height for height, _ in sizes]),
        width=_spread([width for _, width in sizes]),
        megapixels=_spread([height * width / 1e6 for height, width in sizes]),
        several_channels=sum((record.channels or 1) > 1 for record in records),
        soft=float(np.mean(soft)) if soft else None,
        foreground=float(np.mean(foreground)) if foreground else None,
    )


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    return Spread(float(min(values)), float(np.median(values)), float(max(values)), float(np.mean(values)))


def _folder(split: Split) -> Path:
    return split.pairs[0].image.parents[1]


def _listing_findings(split: Split, root: Path) -> Iterator[Finding]:
    """What the file names in the split's folder tell: halves of pairs, stems that are there twice, and what is not
    read."""
    folder, listing = _folder(split), split.listing
    images, masks, trimaps = listing.images, listing.masks, listing.trimaps
    whole = images.keys() & masks.keys()

    def lone(kind: FindingKind, files: Files, among: Set[str], what: str) -> Iterator[Finding]:
        for stem in sorted(files.keys() - among):
            yield _finding(kind, split.name, files[stem][0], root, what)

    yield from lone(FindingKind.NO_MASK, images, masks.keys(), "no mask")
    yield from lone(FindingKind.NO_IMAGE, masks, images.keys(), "no image")
    yield from lone(FindingKind.LONE_TRIMAP, trimaps, whole, "no pair")
    if (folder / "trimap").is_dir():
        yield from lone(
            FindingKind.NO_TRIMAP, {stem: images[stem] for stem in whole}, trimaps.keys(), "no trimap"
        )
    yield from duplicate_stems(split, root)
    for name, kinds in listing.others.items():
        file = (folder / name).relative_to(root).as_posix()
        yield Finding(FindingKind.OTHER_FORMAT, split.name, "", file, describe_suffixes(kinds))


def duplicate_stems(split: Split, root: Path) -> Iterator[Finding]:
    """Stems that are there twice."""
    for paths in split.listing.duplicates:
        also = "also " + ", ".join(path.name for path in paths[1:])
        yield _finding(FindingKind.TWICE, split.name, paths[0], root, also)


def _finding(kind: FindingKind, split: str, path: Path, root: Path, what: str) -> Finding:
    return Finding(kind, split, path.stem, path.relative_to(root).as_posix(), what)


def _repeated_photos(splits: Sequence[Split], root: Path) -> Iterator[Finding]:
    """Image files of identical bytes. Only files of equal length are read a second time, which few are."""
    every = [(split.name, pair) for split in splits for pair in split.pairs if pair.image.is_file()]
    lengths = Counter(pair.image.stat().st_size for _, pair in every)
    first: dict[str, tuple[str, Pair]] = {}
    for split, pair in every:
        if lengths[pair.image.stat().st_size] == 1:
            continue
        with pair.image.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        earlier, original = first.setdefault(digest, (split, pair))
        if original is not pair:
            what = f"same bytes as {original.image.relative_to(root).as_posix()}"
            kind = FindingKind.REPEATED if earlier == split else FindingKind.LEAK
            yield _finding(kind, split, pair.image, root, what)
