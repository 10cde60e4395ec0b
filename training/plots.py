"""A run as pictures: curves of its history, and mattes of a validation.

In: rows of `history.csv`, or photos with true and predicted alphas. Out: PNG files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray

from training.pictures import as_grey, on_green

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def plot_history(rows: Sequence[Mapping[str, float]], path: Path) -> None:
    """Loss, MAD, mIoU and learning rate over the steps; a dotted line where the input size changes."""
    steps = [row["step"] for row in rows]
    changes = [
        (before["step"] + after["step"]) / 2
        for before, after in pairwise(rows)
        if before["input_size"] != after["input_size"]
    ]
    figure, axes = plt.subplots(2, 2, figsize=(11, 7), sharex=True, layout="constrained")
    names = ("loss", "MAD", "mIoU", "learning_rate")
    for axis, name in zip(axes.flat, names, strict=True):
        values = [row[name] for row in rows]
        axis.plot(steps, values, marker="." if len(rows) < 60 else None)
        axis.set_title(_title(name, steps, values))
        axis.grid(alpha=0.3)
        for step in changes:
            axis.axvline(step, linestyle=":", color="grey")
    for axis in axes[1]:
        axis.set_xlabel("step")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _title(name: str, steps: Sequence[float], values: Sequence[float]) -> str:
    """With the best value, where one is best."""
    choose = {"MAD": min, "mIoU": max}.get(name)
    finite = [value for value in values if math.isfinite(value)]
    if choose is None or not finite:
        return name.replace("_", " ")
    best = choose(finite)
    return f"{name}: best {best:.4f} at step {steps[values.index(best)]:.0f}"


def validation_sheet(
    images: Sequence[NDArray[np.uint8]],
    truths: Sequence[NDArray[np.float32]],
    predictions: Sequence[NDArray[np.float32]],
) -> NDArray[np.uint8]:
    """A row per picture: photo, true matte on green, this matte on green, this matte. RGB uint8; all of one size
    `[S,S]`, which the sheet keeps."""
    rows = [
        np.hstack([image, on_green(image, truth), on_green(image, matte), as_grey(matte)])
        for image, truth, matte in zip(images, truths, predictions, strict=True)
    ]
    half = (len(rows) + 1) // 2
    rows += [np.zeros_like(rows[0])] * (2 * half - len(rows))
    return np.asarray(np.hstack([np.vstack(rows[:half]), np.vstack(rows[half:])]), np.uint8)


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """RGB uint8 `[H,W,3]`."""
    cv2.imwrite(str(path), picture[:, :, ::-1])
