"""An evaluation as a page: figures per source, how they are spread, and the worst mattes to look at.

In: an Evaluation, the artifact and data it came from. Out: `index.html` with its pictures, in a folder that can be
sent as it is. The worst pictures are matted again, so that an evaluation needs to keep no pixels.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Final

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray

from model.contract import verify
from model.matting import Matte
from training.data.dataset import list_pairs
from training.data.images import as_grey, on_green
from training.evaluation.crops import Sample
from training.evaluation.evaluate import Evaluation, Scores
from training.evaluation.predict import predict_mattes
from training.evaluation.protocol import Protocol

matplotlib.use("Agg")
from matplotlib import pyplot as plt

WORST: Final = 24
PANEL_HEIGHT: Final = 320  # pixels
CAPTION: Final = ("mIoU", "MAD", "GRAD", "confidence")
CONFIDENCE_EDGES: Final = (0.0, 0.9, 0.95, 0.97, 1.0)

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #ccc; }}
th:first-child, td:first-child {{ text-align: left; }}
img {{ max-width: 100%; }}
figure {{ margin: 1.5rem 0; }}
.wide {{ overflow-x: auto; }}
</style>
<h1>{title}</h1>
<p>{protocol}; {count} pictures.</p>
<div class="wide">{table}</div>
<h2>How the figures are spread</h2>
<img src="spread.png" alt="Histograms of mIoU and MAD per source, and confidence against mIoU">
<h2>What the service says of its own mattes</h2>
<p>{confidence}</p>
<div class="wide">{confidence_table}</div>
<h2>The {worst} worst, by mIoU</h2>
<p>From left to right: the photo, the true matte on green, this matte on green, where they differ (white: by 1).</p>
{figures}
</html>
"""


def write_report(
    evaluation: Evaluation, artifact: Path, data_root: Path, protocol: Protocol, folder: Path
) -> Path:
    """Write the page of `evaluation` (of `artifact` on `data_root`, by `protocol`) and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    _plot_spread(evaluation, folder / "spread.png")
    stems = sorted(evaluation.images, key=lambda stem: evaluation.images[stem]["mIoU"])[:WORST]
    names = _write_panels(evaluation, stems, artifact, data_root, protocol, folder)
    page = folder / "index.html"
    page.write_text(
        _PAGE.format(
            title=html.escape(f"{evaluation.model} on {evaluation.split}"),
            protocol=html.escape(evaluation.protocol),
            count=len(evaluation.images),
            table=_table(evaluation),
            confidence=_confidence_in_words(evaluation),
            confidence_table=_confidence_table(evaluation),
            worst=len(stems),
            figures="\n".join(_figure(stem, names[stem], evaluation.images[stem]) for stem in stems),
        ),
        encoding="utf-8",
    )
    return page


def _table(evaluation: Evaluation) -> str:
    rows: dict[str, Scores] = {"all": evaluation.mean}
    rows |= {f"{source}*": scores for source, scores in evaluation.sources.items()}
    head = _row("th", ("pictures", *evaluation.mean))
    body = (
        _row("td", (name, *(f"{scores[metric]:.4f}" for metric in evaluation.mean)))
        for name, scores in rows.items()
    )
    return f"<table>{head}{''.join(body)}</table>"


def _confidence_in_words(evaluation: Evaluation) -> str:
    """How near the confidence is to the real mIoU on the whole, and how well it ranks the pictures (Spearman)."""
    said, real = _confidences(evaluation)
    ranks = [values.argsort().argsort() for values in (said, real)]
    correlation = np.asarray(np.corrcoef(ranks))[0, 1] if len(said) > 1 else float("nan")
    return (
        f"X-Matte-Confidence averages {said.mean():.3f} where the mIoU averages {real.mean():.3f}, "
        f"and ranks the pictures with a Spearman correlation of {correlation:.2f}."
    )


def _confidence_table(evaluation: Evaluation) -> str:
    said, real = _confidences(evaluation)
    rows = [_row("th", ("confidence", "pictures", "mean mIoU", "worst mIoU"))]
    for low, high in pairwise(CONFIDENCE_EDGES):
        found = real[(said >= low) & ((said < high) | (high == CONFIDENCE_EDGES[-1]))]
        figures = (f"{found.mean():.3f}", f"{found.min():.3f}") if len(found) else ("–", "–")
        rows.append(_row("td", (f"{low:.2f} to {high:.2f}", str(len(found)), *figures)))
    return f"<table>{''.join(rows)}</table>"


def _confidences(evaluation: Evaluation) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    scores = evaluation.images.values()
    return np.array([each["confidence"] for each in scores]), np.array([each["mIoU"] for each in scores])


def _row(cell: str, values: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<{cell}>{html.escape(value)}</{cell}>" for value in values) + "</tr>"


def _figure(stem: str, name: str, scores: Scores) -> str:
    figures = ", ".join(f"{metric} {scores[metric]:.3f}" for metric in CAPTION)
    caption = html.escape(f"{stem}: {figures}")
    return (
        f'<figure><img src="{html.escape(name)}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'
    )


def _plot_spread(evaluation: Evaluation, path: Path) -> None:
    groups = _by_source(evaluation)
    figure, axes = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
    for axis, metric in zip(axes, ("mIoU", "MAD"), strict=False):
        values = [[scores[metric] for scores in group] for group in groups.values()]
        axis.hist(values, bins=30, stacked=True, label=list(groups))
        axis.set(xlabel=metric, ylabel="pictures")
    for name, group in groups.items():
        axes[2].scatter([s["confidence"] for s in group], [s["mIoU"] for s in group], s=12, label=name)
    axes[2].axline((1, 1), slope=1, color="grey", linewidth=0.8)
    axes[2].set(xlabel="confidence", ylabel="mIoU")
    axes[0].legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _by_source(evaluation: Evaluation) -> Mapping[str, list[Scores]]:
    names = list(evaluation.sources) or [""]
    return {
        f"{name}*": [scores for stem, scores in evaluation.images.items() if stem.startswith(name)]
        for name in names
    }


def _write_panels(
    evaluation: Evaluation,
    stems: list[str],
    artifact: Path,
    data_root: Path,
    protocol: Protocol,
    folder: Path,
) -> dict[str, str]:
    """A JPEG for each stem, named by its rank; returns the names."""
    pairs = [pair for pair in list_pairs(data_root, evaluation.split).pairs if pair.stem in stems]
    names = {}
    with ThreadPoolExecutor() as pool:
        for found, samples, made in predict_mattes(artifact, verify(artifact), pairs, protocol, pool):
            for stem, sample, matte in zip(found, samples, made, strict=True):
                names[stem] = f"{stems.index(stem) + 1:02d}-{stem}.jpg"
                cv2.imwrite(str(folder / names[stem]), panels(sample, matte)[:, :, ::-1])
    return names


def panels(sample: Sample, matte: Matte) -> NDArray[np.uint8]:
    """Photo, truth on green, matte on green, difference: RGB uint8, PANEL_HEIGHT high."""
    alpha = matte.alpha.astype(np.float32) / np.float32(255)
    four = (
        sample.image,
        on_green(sample.image, sample.alpha),
        on_green(sample.image, alpha),
        as_grey(np.abs(alpha - sample.alpha)),
    )
    height, width = sample.alpha.shape
    size = (max(1, round(width * PANEL_HEIGHT / height)), PANEL_HEIGHT)
    small = [cv2.resize(panel.astype(np.uint8), size, interpolation=cv2.INTER_AREA) for panel in four]
    return np.asarray(np.hstack(small), np.uint8)
