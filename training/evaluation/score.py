"""A folder of mattes against a folder of truths, by P3M-10k's metrics: our mattes, or those of any other tool.

In: two or three folders whose pictures are paired by stem. Out: a Scored: means, every image's figures, and which
stems have no counterpart. Knows no network and imports no TensorFlow, so that a process per core costs little.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from training.data.dataset import MASK_SUFFIXES, list_pictures
from training.data.findings import FindingKind
from training.data.images import ImageError
from training.data.masks import read_alpha_bytes, read_prediction, read_trimap
from training.metrics import BACKGROUND, FOREGROUND, UNKNOWN, score_matte

SMALL_SET: Final = 16  # images: up to here, to start processes takes longer than they save
CHUNK: Final = 4  # images that a process is given at once
SHOWN: Final = 5  # stems or values that a message lists

Scores = Mapping[str, float]


class ScoreError(ValueError):
    """The folders, or the files of one pair, do not fit together; the message names them."""


@dataclass(frozen=True, slots=True)
class Scored:
    """`mean` over `images`, which are by stem; `missing` are the truths without a prediction, `extra` the predictions
    without a truth: neither is scored."""

    mean: Scores
    images: Mapping[str, Scores]
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    def to_json(self) -> str:
        document = {"mean": self.mean, "images": self.images, "missing": self.missing}
        return json.dumps(document, indent=1) + "\n"


@dataclass(frozen=True, slots=True)
class _Job:
    predicted: Path
    truth: Path
    trimap: Path | None


def score_folders(
    predicted: Path,
    truth: Path,
    trimaps: Path | None = None,
    *,
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Scored:
    """Score each matte in `predicted` that has a truth of the same stem; with `trimaps` by region too.

    `processes`: how many at once; None is one per core, and this process alone for a small set. They are spawned, so
    a script that calls this guards its entry with `if __name__ == "__main__"`. `progress` is told after each image
    how many are done, and of how many. Raises ScoreError, ImageError or DatasetError, which name the file
    or the folder.
    """
    predictions, truths = _by_stem(predicted), _by_stem(truth)
    stems = sorted(predictions.keys() & truths.keys())
    if not stems:
        counts = f"{len(predictions)} and {len(truths)} pictures"
        raise ScoreError(f"no matte in {predicted} has the stem of a truth in {truth} ({counts})")
    trimap_paths = _trimaps_of(stems, trimaps) if trimaps else {}
    jobs = [_Job(predictions[stem], truths[stem], trimap_paths.get(stem)) for stem in stems]
    images: dict[str, Scores] = {}
    for stem, scores in zip(stems, _results(jobs, _workers(processes, len(jobs))), strict=True):
        images[stem] = scores
        if progress:
            progress(len(images), len(jobs))
    return Scored(
        mean=_mean(list(images.values())),
        images=images,
        missing=tuple(sorted(truths.keys() - predictions.keys())),
        extra=tuple(sorted(predictions.keys() - truths.keys())),
    )


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in list_pictures(folder, MASK_SUFFIXES):
        if path.stem in found:
            raise ScoreError(f"{folder}: {found[path.stem].name} and {path.name} have the same stem")
        found[path.stem] = path
    return found


def _trimaps_of(stems: Sequence[str], folder: Path) -> dict[str, Path]:
    found = _by_stem(folder)
    if lacking := [stem for stem in stems if stem not in found]:
        raise ScoreError(f"{folder}: {_counted(lacking, 'without a trimap')}")
    return found


def _workers(processes: int | None, jobs: int) -> int:
    if processes is None:
        return 1 if jobs <= SMALL_SET else min(_cores(), jobs)
    if processes < 1:
        raise ScoreError(f"processes must be 1 or more, not {processes}")
    return min(processes, jobs)


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _results(jobs: Sequence[_Job], workers: int) -> Iterator[Scores]:
    """In the jobs' order."""
    if workers == 1:
        yield from map(_score, jobs)
        return
    # Spawned: a fork would copy locks that OpenCV's threads may hold. One thread each: the processes fill the cores.
    spawn = get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield from pool.map(_score, jobs, chunksize=CHUNK)


def _score(job: _Job) -> Scores:
    matte, truth = read_prediction(job.predicted), read_alpha_bytes(job.truth)
    _check_size(job.predicted, matte, job.truth, truth)
    if job.trimap is None:
        return score_matte(matte, truth)
    trimap = _trimap(job.trimap)
    _check_size(job.trimap, trimap, job.truth, truth)
    return score_matte(matte, truth, trimap)


def _trimap(path: Path) -> NDArray[np.uint8]:
    trimap = read_trimap(path)
    values = np.flatnonzero(np.bincount(trimap.ravel(), minlength=256))
    if odd := sorted(set(values.tolist()) - {BACKGROUND, UNKNOWN, FOREGROUND}):
        shown = ", ".join(map(str, odd[:SHOWN])) + (" …" if len(odd) > SHOWN else "")
        what = f"a trimap has {BACKGROUND}, {UNKNOWN} and {FOREGROUND} only, this has {shown}"
        raise ImageError(path, what, FindingKind.ODD_TRIMAP)
    return trimap


def _check_size(path: Path, pixels: NDArray[np.uint8], truth_path: Path, truth: NDArray[np.uint8]) -> None:
    if pixels.shape != truth.shape:
        sizes = [f"{height}×{width}" for height, width in (pixels.shape, truth.shape)]
        raise ScoreError(f"{path}: {sizes[0]}, but {truth_path} is {sizes[1]} (height × width)")


def _mean(scores: Sequence[Scores]) -> dict[str, float]:
    return {name: float(np.mean([each[name] for each in scores])) for name in scores[0]}


def table(scored: Scored) -> Table:
    """The means for a terminal, a row per metric; below them what was not scored."""
    left_out = [
        _counted(stems, what)
        for stems, what in ((scored.missing, "without a prediction"), (scored.extra, "without a truth"))
        if stems
    ]
    result = Table("metric", caption=Text("\n".join(left_out)) if left_out else None)
    result.add_column(f"all {len(scored.images)}", justify="right")
    for name, value in scored.mean.items():
        result.add_row(name, f"{value:.4f}")
    return result


def _counted(stems: Sequence[str], what: str) -> str:
    return f"{len(stems)} {what}: {', '.join(stems[:SHOWN])}{' …' if len(stems) > SHOWN else ''}"
