"""What an artifact is worth on a split: its own SavedModel, the service's geometry, P3M's metrics.

In: an artifact directory and a folder laid out as P3M-10k is. Out: an Evaluation: means over the split, means per
source (the letters that stems begin with), and every image's figures. The protocol is "served": the image is
stretched to the artifact's square, the alpha is stretched back, rounded to 8 bits as the PNG is, and scored at the
image's own size.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from rich.progress import track
from rich.table import Table

from model.contract import (
    INPUT_NAME,
    OUTPUT_NAME,
    SAVED_MODEL_DIR,
    SIGNATURE,
    Manifest,
    verify,
    write_manifest,
)
from model.transforms import to_image_size, to_model_input
from training.dataset import Pair, list_pairs
from training.images import read_alpha, read_image, read_trimap
from training.metrics import score_matte

BATCH: Final = 8

# uint8 [N,S,S,3] -> float32 [N,S,S]
Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
Scores = Mapping[str, float]


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


def evaluate_artifact(artifact: Path, data_root: Path, split: str) -> Evaluation:
    """Score every pair of `split`. Raises ContractError, DatasetError or ImageError."""
    manifest = verify(artifact)
    network = load_network(artifact)
    pairs = list_pairs(data_root, split).pairs
    images: dict[str, Scores] = {}
    groups = [pairs[i : i + BATCH] for i in range(0, len(pairs), BATCH)]
    with ThreadPoolExecutor() as pool:
        for group in track(groups, description=f"{manifest.label} on {split}"):
            pixels = list(pool.map(lambda pair: read_image(pair.image), group))
            alphas = _predict(network, pixels, manifest.input_size)
            scores = pool.map(_score, group, alphas)
            images |= {pair.stem: score for pair, score in zip(group, scores, strict=True)}
    return Evaluation(
        model=manifest.label,
        split=split,
        protocol=f"served {manifest.input_size}x{manifest.input_size} {manifest.geometry}",
        mean=mean_scores(list(images.values())),
        sources=by_source(images),
        images=images,
    )


def load_network(artifact: Path) -> Network:
    """The SavedModel as a function of arrays, in float32."""
    loaded = tf.saved_model.load(str(artifact / SAVED_MODEL_DIR))
    serve = loaded.signatures[SIGNATURE]

    def network(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        alpha: NDArray[np.float32] = serve(**{INPUT_NAME: tf.constant(images)})[OUTPUT_NAME].numpy()
        return alpha[:, :, :, 0]

    return network


def _predict(network: Network, images: Sequence[NDArray[np.uint8]], size: int) -> list[NDArray[np.float32]]:
    """Mattes of a batch at each image's own size, in steps of 1/255."""
    squares = network(np.stack([to_model_input(image, size) for image in images]))
    return [
        np.rint(to_image_size(square, *image.shape[:2]) * np.float32(255)) / np.float32(255)
        for square, image in zip(squares, images, strict=True)
    ]


def _score(pair: Pair, predicted: NDArray[np.float32]) -> Scores:
    trimap = read_trimap(pair.trimap) if pair.trimap else None
    return score_matte(predicted, read_alpha(pair.alpha), trimap)


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
    """Write the means into the artifact's manifest as "<split>/<metric>" and "<split>/<source>*/<metric>"."""
    manifest = verify(artifact)
    found = {f"{evaluation.split}/{name}": value for name, value in evaluation.mean.items()}
    for source, scores in evaluation.sources.items():
        found |= {f"{evaluation.split}/{source}*/{name}": value for name, value in scores.items()}
    rounded = {name: float(f"{value:.5g}") for name, value in found.items()}
    manifest = dataclasses.replace(manifest, metrics={**manifest.metrics, **rounded})
    write_manifest(artifact, manifest)
    return manifest


def table(evaluation: Evaluation) -> Table:
    """The figures for a terminal: a row per source, the whole split last."""
    result = Table(title=f"{evaluation.model} on {evaluation.split} ({evaluation.protocol})")
    result.add_column("images")
    for name in evaluation.mean:
        result.add_column(name, justify="right")
    rows = {f"{source}*": scores for source, scores in evaluation.sources.items()}
    rows[f"all {len(evaluation.images)}"] = evaluation.mean
    for label, scores in rows.items():
        result.add_row(label, *(f"{scores[name]:.4f}" for name in evaluation.mean))
    return result
