"""What happens after steps and validations: history.csv, curves, a sheet of mattes, TensorBoard.

`<run>/tensorboard` is for `tensorboard --logdir`; everything else is for any viewer. A resumed run goes on in the
same files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import tensorboard  # noqa: F401 # tf.summary would ask for it at the first validation only, hours later
import tensorflow as tf
from numpy.typing import NDArray

from training.engine.history import History, plot_history
from training.engine.train_step import StepResult

EVERY_STEPS: Final = 10  # a point in TensorBoard's curves is the mean over so many steps


class RunCallbacks:
    """Create it after the state is restored: rows of steps that a crash undid are dropped."""

    def __init__(self, run_dir: Path, step: int) -> None:
        self._run_dir = run_dir
        self._history = History(run_dir / "history.csv", up_to_step=step)
        self._board = tf.summary.create_file_writer(str(run_dir / "tensorboard"))
        self._since_validation: list[float] = []
        self._since_point: list[StepResult] = []

    def on_step_end(self, step: int, result: StepResult, learning_rate: float) -> None:
        self._since_validation.append(result.loss)
        self._since_point.append(result)
        if step % EVERY_STEPS == 0:
            points, self._since_point = self._since_point, []
            with self._board.as_default(step=step):
                tf.summary.scalar("train/loss", np.mean([each.loss for each in points]))
                tf.summary.scalar("train/gradient_norm", np.mean([each.gradient_norm for each in points]))
                tf.summary.scalar("train/learning_rate", learning_rate)

    def on_validation_end(
        self,
        step: int,
        size: int,
        scores: Mapping[str, float],
        learning_rate: float,
        sheet: NDArray[np.uint8],
    ) -> bool:
        """Write everything; True when this validation is the best so far at its input size."""
        losses, self._since_validation = self._since_validation, []
        loss = float(np.mean(losses)) if losses else float("nan")
        best = self._history.add(step, size, loss, scores, learning_rate)
        plot_history(self._history.rows, self._run_dir / "curves.png")
        write_png(self._run_dir / "validation.png", sheet)
        with self._board.as_default(step=step):
            for name, value in scores.items():
                tf.summary.scalar(f"validation/{name}", value)
            tf.summary.image("validation/mattes", sheet[None])
        self._board.flush()
        return best

    def close(self) -> None:
        self._board.close()


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """RGB uint8 `[H,W,3]`."""
    cv2.imwrite(str(path), picture[:, :, ::-1])
