"""What an artifact is worth on a split: its own SavedModel, the service's own recipe, P3M's metrics.

In: an artifact directory and a folder laid out as P3M-10k is. Out: an Evaluation: means over the split, means per
source (the letters that stems begin with), and every image's figures. The protocol is "served": what
`model.matting` does for the service, rounded to 8 bits as the PNG is, scored at the image's own size.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from rich.progress import track
from rich.table import Table

from model import matting
from model.contract import (
    INPUT_NAME,
    OUTPUT_NAME,
    SAVED_MODEL_DIR,
    SIGNATURE,
    Manifest,
    verify,
    write_manifest,
)
from model.matting import Matte, Quality
from training.cuts import Cut, Sample, cut_out
from training.dataset import DatasetError, Pair, list_pairs
from training.images import read_alpha, read_image, read_trimap
from training.metrics import score_matte

BATCH: Final = 8

# uint8 [N,S,S,3] -> float32 [N,S,S]
Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
Scores = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Protocol:
    """How mattes are made and what of each picture is scored; the defaults are what the service does."""

    refined: bool = True
    quality: Quality = Quality.STANDARD
    cut: Cut = Cut.WHOLE

    def describe(self, manifest: Manifest) -> str:
        """In words, for the head of a table."""
        parts = [f"served {manifest.input_size}x{manifest.input_size} {manifest.geometry}"]
        parts += ["refined" if self.refined else "not refined"]
        parts += [f"quality {self.quality}"] * (self.quality is not Quality.STANDARD)
        parts += [f"cut {self.cut}"] * (self.cut is not Cut.WHOLE)
        return ", ".join(parts)


SERVED: Final = Protocol()

# What the service says of a matte, beside what the truth says of it.
JUDGEMENTS: Final = frozenset({"confidence", "person"})


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`mean` over all images; `sources` the mean per stem prefix; `images` by stem."""

    model: str
    split: str
    protocol: str
    mean: Scores
    sources: Mapping[str, Scores]
    images: Mapping[str, Scores]

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True) + "\n"


def evaluate_artifact(artifact: Path, data_root: Path, split: str, protocol: Protocol = SERVED) -> Evaluation:
    """Score every pair of `split`. Raises ContractError, DatasetError or ImageError."""
    manifest = verify(artifact)
    pairs = list_pairs(data_root, split).pairs
    with ThreadPoolExecutor() as pool:
        groups = mattes(artifact, manifest, pairs, protocol, pool)
        shown = track(groups, f"{manifest.label} on {split}", total=-(-len(pairs) // BATCH))
        images = {
            stem: score
            for stems, samples, made in shown
            for stem, score in zip(stems, pool.map(score_sample, samples, made), strict=True)
        }
    if not images:
        raise DatasetError(f"no picture of {split} has a part to cut: {protocol.cut}")
    return Evaluation(
        model=manifest.label,
        split=split,
        protocol=protocol.describe(manifest),
        mean=mean_scores(list(images.values())),
        sources=by_source(images),
        images=images,
    )


def mattes(
    artifact: Path, manifest: Manifest, pairs: Sequence[Pair], protocol: Protocol, pool: ThreadPoolExecutor
) -> Iterator[tuple[list[str], list[Sample], list[Matte]]]:
    """Stems, samples and mattes of a batch at a time; pictures without the part that is asked for are left out."""
    network = load_network(artifact)

    def read(pair: Pair) -> Sample | None:
        return cut_out(read_sample(pair), protocol.cut)

    for i in range(0, len(pairs), BATCH):
        group = pairs[i : i + BATCH]
        found = [
            (pair.stem, sample) for pair, sample in zip(group, pool.map(read, group), strict=True) if sample
        ]
        stems, samples = [stem for stem, _ in found], [sample for _, sample in found]
        yield stems, samples, predict(network, [s.image for s in samples], manifest, protocol, pool)


def predict(
    network: Network,
    images: Sequence[NDArray[np.uint8]],
    manifest: Manifest,
    protocol: Protocol,
    pool: ThreadPoolExecutor,
) -> list[Matte]:
    """Mattes at each image's own size, in steps of 1/255."""
    seen = [
        matting.views(image, manifest.input_size, manifest.geometry, protocol.quality) for image in images
    ]
    flat = [view for views in seen for view in views]
    answers = iter(network(np.stack(flat))) if flat else iter(())
    alphas = [[next(answers) for _ in views] for views in seen]

    def finish(
        image: NDArray[np.uint8], views: list[NDArray[np.uint8]], given: list[NDArray[np.float32]]
    ) -> Matte:
        matte = matting.finish(
            image, views, given, manifest.geometry, sharpness=manifest.sharpness, refined=protocol.refined
        )
        rounded = np.rint(matte.alpha * np.float32(255)) / np.float32(255)
        return dataclasses.replace(matte, alpha=rounded)

    return list(pool.map(finish, images, seen, alphas))


def load_network(artifact: Path) -> Network:
    """The SavedModel as a function of arrays, in float32."""
    loaded = tf.saved_model.load(str(artifact / SAVED_MODEL_DIR))
    serve = loaded.signatures[SIGNATURE]

    def network(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        alpha: NDArray[np.float32] = serve(**{INPUT_NAME: tf.constant(images)})[OUTPUT_NAME].numpy()
        return alpha[:, :, :, 0]

    return network


def read_sample(pair: Pair) -> Sample:
    """Raises ImageError."""
    trimap = read_trimap(pair.trimap) if pair.trimap else None
    return Sample(read_image(pair.image), read_alpha(pair.alpha), trimap)


def score_sample(sample: Sample, matte: Matte) -> Scores:
    """P3M's metrics, the confidence that the service would give, and 1 where it would say that somebody is there."""
    return {
        **score_matte(matte.alpha, sample.alpha, sample.trimap),
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


def record(artifact: Path, evaluation: Evaluation) -> Manifest:
    """Write the mean metrics into the artifact's manifest as "<split>/<metric>" and "<split>/<source>*/<metric>", in
    place of what an earlier evaluation of that split wrote."""
    manifest = verify(artifact)
    groups = {"": evaluation.mean, **{f"{name}*/": scores for name, scores in evaluation.sources.items()}}
    found = {
        f"{evaluation.split}/{group}{name}": float(f"{value:.5g}")
        for group, scores in groups.items()
        for name, value in scores.items()
        if name not in JUDGEMENTS
    }
    others = {k: v for k, v in manifest.metrics.items() if not k.startswith(f"{evaluation.split}/")}
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
