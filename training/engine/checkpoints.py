"""The checkpoints of a run: `last` for an exact resume, `best` for the export.

In: a run's directory and its TrainState. Out: the state saved or restored; or a trained network to export.
"""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

from training.config import TrainConfig
from training.engine.run_dir import RunError
from training.engine.state import TrainState


class Checkpoints:
    """The two checkpoints of a run directory. Each is written beside its predecessor, which goes only afterwards."""

    def __init__(self, run_dir: Path, state: TrainState) -> None:
        self._state = state
        # Kept beside the vectors, whose lengths alone do not tell whose they are.
        self._layout = tf.Variable(state.layout_digest(), trainable=False)
        folder = run_dir / "checkpoints"
        everything = tf.train.Checkpoint(layout=self._layout, **state.vectors)
        averages = tf.train.Checkpoint(
            layout=self._layout, average=state.average, moving_average=state.moving_average
        )
        self._last = tf.train.CheckpointManager(everything, str(folder / "last"), max_to_keep=2)
        self._best = tf.train.CheckpointManager(averages, str(folder / "best"), max_to_keep=1)

    def restore_last(self) -> bool:
        """Take up the last checkpoint; False when there is none. Raises RunError for one of another network."""
        return self._restore(self._last) is not None

    def restore_averages(self, *, best: bool = True) -> str | None:
        """Take up the averages of the best checkpoint, else or without `best` of the last, and say which; None when
        there is none.

        Averages that are not finite are nobody's best: the last are taken then. Raises RunError when neither are.
        """
        useless = []
        for manager in (self._best, self._last) if best else (self._last,):
            found = self._restore(manager)
            if found and _are_finite(self._state.average, self._state.moving_average):
                return found
            useless += [found] if found else []
        if useless:
            raise RunError(f"{' and '.join(useless)}: the weights are not finite (NaN), and of no use")
        return None

    def save_last(self) -> None:
        """Raises RunError for weights that are not finite: the checkpoint before is worth more."""
        self._save(self._last)

    def save_best(self) -> None:
        """The same."""
        self._save(self._best)

    def _save(self, manager: tf.train.CheckpointManager) -> None:
        state, step = self._state, int(self._state.step.numpy())
        if not _are_finite(state.weights, state.moving, state.average, state.moving_average):
            raise RunError(
                f"the weights are not finite after step {step}. Lower learning_rate, or use precision = float32; "
                "the last checkpoint is from before."
            )
        manager.save(checkpoint_number=step)

    def _restore(self, manager: tf.train.CheckpointManager) -> str | None:
        path = manager.latest_checkpoint
        if path is None:
            return None
        expected = self._state.layout_digest()
        try:
            manager.checkpoint.restore(path).assert_existing_objects_matched()
        except (AssertionError, ValueError) as error:
            raise RunError(f"{path} is not of this network or version; begin a new run") from error
        if self._layout.numpy().decode() != expected:
            raise RunError(f"{path} is of a network with other weights; begin a new run")
        return f"{Path(manager.directory).name}-{Path(path).name.removeprefix('ckpt-')}"


def _are_finite(*vectors: tf.Variable) -> bool:
    return all(bool(tf.reduce_all(tf.math.is_finite(tf.convert_to_tensor(vector)))) for vector in vectors)


def load_trained(run_dir: Path, config: TrainConfig, *, last: bool = False) -> tuple[keras.Model, str]:
    """The averaged network of a run and the checkpoint it came from: the best validated one, else, or if asked for,
    the last.

    Raises FileNotFoundError when the run has no checkpoint yet, and RunError when it is of another network or its
    weights are not finite.
    """
    state = TrainState(config)
    found = Checkpoints(run_dir, state).restore_averages(best=not last)
    if found is None:
        raise FileNotFoundError(f"{run_dir}: no checkpoint yet; train first")
    return state.averaged_network(), found
