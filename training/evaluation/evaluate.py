"""What an artifact is worth on a split: its mattes (`predict`) by P3M's metrics, at the images' own size.

In: an artifact directory and a data set. Out: an Evaluation: means over the split, means per source (the letters that
stems begin with), and every image's figures.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from rich.progress import track
from rich.table import Table

from model.contract import Manifest, verify, write_manifest
from model.matting import Matte
from model.transforms import to_8_bits
from training.data.dataset import DatasetError, list_pairs
from training.evaluation.crops import Sample
from training.evaluation.predict import BATCH_SIZE, predict_mattes
from training.evaluation.protocol import RESIZE, SERVED, Protocol
from training.metrics import score_matte

Scores = Mapping[str, float]

# What the service itself estimates of a matte: these are no metrics, and are not recorded.
SERVICE_ESTIMATES: Final = frozenset({"confidence", "person"})


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`mean` over all images; `sources` the mean per stem prefix; `images` by stem."""

    model: str
    split: str
    protocol: str
    mean: Scores
    sources: Mapping[str, Scores]
    images: Mapping[str, Scores]


def to_json(evaluations: Mapping[str, Evaluation]) -> str:
    """A single evaluation as it is; several by their splits."""
    documents = {split: dataclasses.asdict(each) for split, each in evaluations.items()}
    document = next(iter(documents.values())) if len(documents) == 1 else documents
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def evaluate_artifact(
    artifact: Path, data_root: Path, split: str, protocol: Protocol = SERVED, mattes_dir: Path | None = None
) -> Evaluation:
    """Score every pair of `split`, and write the mattes as PNG files into `mattes_dir`, where one is given.

    Raises ContractError, DatasetError or ImageError.
    """
    if mattes_dir is not None:
        mattes_dir.mkdir(parents=True, exist_ok=True)
    manifest = verify(artifact)
    pairs = list_pairs(data_root, split).pairs
    with ThreadPoolExecutor() as pool:
        groups = predict_mattes(artifact, manifest, pairs, protocol, pool)
        shown = track(groups, f"{manifest.label} on {split}", total=-(-len(pairs) // BATCH_SIZE))
        images = {
            stem: score
            for stems, samples, made in shown
            for stem, score in zip(
                stems, pool.map(_judge, stems, samples, made, [mattes_dir] * len(stems)), strict=True
            )
        }
    if not images:
        raise DatasetError(f"no picture of {split} has a part to cut: {protocol.crop}")
    return Evaluation(
        model=manifest.label,
        split=split,
        protocol=protocol.describe(manifest),
        mean=mean_scores(list(images.values())),
        sources=by_source(images),
        images=images,
    )


def _judge(stem: str, sample: Sample, matte: Matte, mattes_dir: Path | None) -> Scores:
    if mattes_dir is not None:
        cv2.imwrite(str(mattes_dir / f"{stem}.png"), matte.alpha)
    return score_sample(sample, matte)


def score_sample(sample: Sample, matte: Matte) -> Scores:
    """P3M's metrics, the confidence that the service would give, and 1 where it would say that somebody is there."""
    return {
        **score_matte(matte.alpha, to_8_bits(sample.alpha), sample.trimap),
        "confidence": matte.confidence,
        "person": float(matte.foreground),
    }


def mean_scores(scores: Sequence[Scores]) -> dict[str, float]:
    """Mean over the images of every metric that all of them have."""
    names = [name for name in scores[0] if all(name in each for each in scores)]
    return {name: float(np.mean([each[name] for each in scores])) for name in names}


def by_source(images: Mapping[str, Scores]) -> dict[str, Scores]:
    """Means per leading letters of the stem, where a split mixes several sources."""
    groups: dict[str, list[Scores]] = {}
    for stem, scores in images.items():
        prefix = re.match(r"[^\W\d_]*", stem)
        groups.setdefault(prefix.group() if prefix else "", []).append(scores)
    return {name: mean_scores(group) for name, group in sorted(groups.items())} if len(groups) > 1 else {}


def record(artifact: Path, evaluation: Evaluation, protocol: Protocol = SERVED) -> Manifest:
    """Write the mean metrics into the artifact's manifest as "<split>/<metric>" and "<split>/<source>*/<metric>", in
    place of what an earlier evaluation of that split wrote; by RESIZE, "<split>@resize" stands for the split.

    Raises ValueError for a protocol that is neither SERVED nor RESIZE.
    """
    if protocol not in (SERVED, RESIZE):
        raise ValueError("--record keeps what is served, or resize: without --no-refine, --quality or --cut")
    place = evaluation.split + ("@resize" if protocol == RESIZE else "")
    manifest = verify(artifact)
    groups = {"": evaluation.mean, **{f"{name}*/": scores for name, scores in evaluation.sources.items()}}
    found = {
        f"{place}/{group}{name}": float(f"{value:.5g}")
        for group, scores in groups.items()
        for name, value in scores.items()
        if name not in SERVICE_ESTIMATES
    }
    others = {k: v for k, v in manifest.metrics.items() if not k.startswith(f"{place}/")}
    manifest = dataclasses.replace(manifest, metrics={**others, **found})
    write_manifest(artifact, manifest)
    return manifest


def table(evaluation: Evaluation) -> Table:
    """The figures for a terminal: a row per metric, a column per source, the whole split last."""
    columns = {f"{source}*": scores for source, scores in evaluation.sources.items()}
    columns[f"all {len(evaluation.images)}"] = evaluation.mean
    result = Table("metric", title=f"{evaluation.model} on {evaluation.split}", caption=evaluation.protocol)
    for label in columns:
        result.add_column(label, justify="right")
    for name in evaluation.mean:
        result.add_row(name, *(f"{scores[name]:.4f}" for scores in columns.values()))
    return result
