"""A run in the terminal: a live bar with images per second, time left and loss, and a line per validation.

Where the output is a file instead of a terminal, a line every LOG_EVERY_S seconds stands in for the bar.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from training.config import TrainConfig
    from training.data.dataset import TrainData
    from training.engine.state import TrainState

LOG_EVERY_S: Final = 60.0
LOSSES_SHOWN: Final = 50  # the loss shown is the mean over this many steps


class Progress:
    """Use as a context manager around `training.engine.trainer.train`."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._bar = Bar(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]} img/s  loss {task.fields[loss]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._batch = 0
        self._losses: deque[float] = deque(maxlen=LOSSES_SHOWN)
        self._logged = time.monotonic()

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def on_train_begin(
        self,
        config: TrainConfig,
        data: TrainData,
        state: TrainState,
        *,
        origin: str,
        device: str,
        replicas: int,
        host: int,
    ) -> None:
        done = int(state.step.numpy())
        self._batch = config.batch_size
        self._task = self._bar.add_task("train", total=config.total_steps, completed=done, rate="–", loss="–")
        self.console.print(
            f"{state.network.name}: {state.network.count_params() / 1e6:.2f} M parameters, "
            f"{len(data.train)} training pairs, {len(data.validation)} validation pairs, "
            f"{len(data.sources.backgrounds)} backgrounds, {config.precision} {device}, "
            + (f"{replicas} replicas in all, " if replicas > 1 else "")
            + origin
            + (f"; this is host {host}, figures and checkpoints are with host 0" if host else "")
        )

    def on_step_end(self, step: int, loss: float, size: int) -> None:
        self._losses.append(loss)
        rate = f"{(self._bar.tasks[0].speed or 0.0) * self._batch:.1f}"
        shown = f"{sum(self._losses) / len(self._losses):.4f}"
        self._bar.update(self._task, completed=step, description=f"train {size}px", rate=rate, loss=shown)
        if not self.console.is_terminal and time.monotonic() - self._logged >= LOG_EVERY_S:
            self._logged = time.monotonic()
            left = self._bar.tasks[0].time_remaining
            minutes = "?" if left is None else f"{left / 60:.0f}"
            self.console.print(f"step {step:6d}  {size}px  loss {shown}  {rate} img/s  {minutes} min left")

    def on_train_end(self, run_dir: Path, *, finished: bool) -> None:
        """Say what to do next."""
        next_ = (
            f"done: python -m training export {run_dir} ARTIFACT_DIR"
            if finished
            else f"stopped; the same command takes up {run_dir} again"
        )
        self.console.print(next_, markup=False)

    def on_validation_end(self, step: int, scores: Mapping[str, float], *, best: bool) -> None:
        figures = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
        said = "  (best)" if best else ""
        if not all(map(math.isfinite, scores.values())):
            said = "  (not finite: never the best)"
        self.console.print(f"step {step:6d}  {figures}{said}")
