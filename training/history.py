"""`history.csv` of a run: a row per validation."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

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
