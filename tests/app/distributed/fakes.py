"""Stand-ins that workers of a bulk job can import: a network of plain functions, a sink that lists its writes.

What a photo does is in its grey value: DEADLY ends the worker's process, HELD waits for the file `go` in the folder
that MATTE_MODEL_DIR names.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import ray

from app.distributed.records import Outcome, Photo
from app.distributed.sinks import Files
from app.distributed.workers import Task
from app.inference.backends.base import Alphas, Batch
from app.inference.predictor import Predictor
from app.inference.registry import STAND_IN
from app.pipeline import Finished

DEADLY = 13
HELD = 201
WRITES = "writes.txt"


def predict(folder: Path, batch: Batch) -> Alphas:
    values = {int(value) for value in np.round(batch.mean(axis=(1, 2, 3)))}
    if DEADLY in values:
        os._exit(1)
    while HELD in values and not (folder / "go").exists():
        time.sleep(0.02)
    means = batch.astype(np.float32).mean(axis=(1, 2, 3)) / 255
    return np.broadcast_to(means[:, None, None], batch.shape[:3]).astype(np.float32)


def load(task: Task) -> Predictor:
    return Predictor(STAND_IN, "none", "float32", (1,), partial(predict, task.settings.model_dir), lanes=2)


@dataclass(frozen=True, slots=True)
class Write:
    """A file was written by a process on a node."""

    node: str
    process: int
    file: str


@dataclass(frozen=True, slots=True)
class Counted(Files):
    """Files, with a line for each write."""

    def put(self, photo: Photo, finished: Finished) -> Outcome:
        outcome = Files.put(self, photo, finished)
        node = ray.get_runtime_context().get_node_id()
        with Path(self.storage.root, "..", WRITES).open("a") as file:
            file.write(f"{node} {os.getpid()} {photo.target}\n")
        return outcome


def writes(folder: Path) -> list[Write]:
    """All so far."""
    file = folder / WRITES
    lines = (line.split() for line in file.read_text().splitlines()) if file.exists() else ()
    return [Write(node, int(process), name) for node, process, name in lines]


def wait_until(condition: Callable[[], bool], patience_s: float = 180) -> None:
    """Look until it holds."""
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
