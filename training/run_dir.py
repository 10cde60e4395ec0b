"""A run on disk.

<run>/config.toml            the run's document, as given; a run is only resumed with the same values
<run>/pictures.json          which pictures it is trained on, and validated: how many, and digests
<run>/init_from.txt          the model whose weights it began with, where it began with one
<run>/checkpoints/last/      everything, for an exact resume
<run>/checkpoints/best/      the average of the best validation of the last phase
<run>/history.csv            a row per validation
<run>/curves.png             history.csv as a picture
<run>/validation.png         mattes of the last validation
<run>/tensorboard/           the same for TensorBoard, and every step's loss
"""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

from model.contract import verify
from training.config import TrainConfig, load_config
from training.norm_statistics import check_measured
from training.run_pictures import Pictures
from training.state import TrainState


class RunError(RuntimeError):
    """The run cannot go on; the message says why and what to do."""


def check_claim(
    run_dir: Path,
    document: Path,
    config: TrainConfig,
    init_from: Path | None = None,
    pictures: Pictures | None = None,
    *,
    data_changed: bool = False,
) -> None:
    """Whether `claim` would be granted; writes nothing. Raises what it raises."""
    if run_dir.exists() and not run_dir.is_dir():
        raise RunError(f"{run_dir} is a file; --run-dir is the folder that a run lives in")
    copy, note = run_dir / "config.toml", run_dir / "init_from.txt"
    origin = _origin(init_from, config.freeze)
    if not copy.exists():
        return
    if load_config(copy).digest() != config.digest():
        raise RunError(f"{run_dir} was begun with other values than {document}; give another --run-dir")
    if origin and origin != (note.read_text(encoding="utf-8") if note.exists() else ""):
        raise RunError(f"{run_dir} was not begun with the weights of {init_from}; give another --run-dir")
    if pictures and not data_changed and (run_dir / "checkpoints" / "last" / "checkpoint").exists():
        _check_pictures(run_dir, pictures)


def claim(
    run_dir: Path,
    document: Path,
    config: TrainConfig,
    init_from: Path | None = None,
    pictures: Pictures | None = None,
    *,
    data_changed: bool = False,
) -> None:
    """Keep a copy of the document in a new run directory, the name of the model it begins with, and its `pictures`.

    Raises RunError when the directory holds a run of other values, or one that began with other weights or, unless
    `data_changed`, on other pictures: half a run with one recipe and half with another would be nobody's result. An
    existing run may be taken up without `init_from`; its weights come from the checkpoint anyway. Raises
    ContractError for a damaged artifact, and StatisticsError for one that this run cannot begin with.
    """
    check_claim(run_dir, document, config, init_from, pictures, data_changed=data_changed)
    run_dir.mkdir(parents=True, exist_ok=True)
    if not (run_dir / "config.toml").exists():
        if origin := _origin(init_from, config.freeze):
            _write(run_dir / "init_from.txt", origin.encode())
        _write(run_dir / "config.toml", document.read_bytes())
    if pictures:
        _write(run_dir / "pictures.json", pictures.to_json().encode())


def _check_pictures(run_dir: Path, pictures: Pictures) -> None:
    record = run_dir / "pictures.json"
    if not record.exists():
        return  # a run of before there was such a record
    if changed := pictures.changed_since(record.read_text(encoding="utf-8")):
        raise RunError(
            f"{run_dir} was begun on other pictures: {changed}. Give another --run-dir, or --data-changed to go "
            "on with those that are there now"
        )


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, whenever the process may be killed."""
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)


def _origin(init_from: Path | None, freeze: str) -> str:
    """`name@version <SHA-256>` of an artifact; "" for none."""
    if init_from is None:
        return ""
    manifest = verify(init_from)
    check_measured(manifest, freeze)
    return f"{manifest.label} {manifest.sha256}\n"


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
