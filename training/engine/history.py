"""`history.csv` of a run, a row per validation, and its curves as a picture."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

COLUMNS: Final = ("step", "input_size", "loss", "learning_rate", "MAD", "mIoU")


class History:
    """Rows of `path` up to `up_to_step`; later ones belong to steps that a crash undid, and are dropped."""

    def __init__(self, path: Path, up_to_step: int) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._rows = [row for row in read_history(path) if row["step"] <= up_to_step]
        self._write()

    def add(
        self, step: int, size: int, loss: float, scores: Mapping[str, float], learning_rate: float
    ) -> bool:
        """Append a validation; True when its MAD is the smallest so far at this input size.

        Figures of different sizes do not compare: the first validation of a new phase is its best. One that is not
        finite is never the best, and none is measured by it.
        """
        row = {"step": step, "input_size": size, "loss": loss, "learning_rate": learning_rate, **scores}
        earlier = [each["MAD"] for each in self._rows if each["input_size"] == size]
        best = math.isfinite(row["MAD"]) and all(row["MAD"] < mad for mad in earlier if math.isfinite(mad))
        self._rows.append({name: float(row[name]) for name in COLUMNS})
        self._write()
        return best

    @property
    def rows(self) -> list[dict[str, float]]:
        return list(self._rows)

    def _write(self) -> None:
        partial = self._path.with_suffix(".partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            for row in self._rows:
                writer.writerow({name: f"{row[name]:.6g}" for name in COLUMNS})
        partial.replace(self._path)


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of a history file, [] when there is none."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: float(row[name]) for name in COLUMNS} for row in csv.DictReader(file)]


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
