"""What a run is made of between two steps: network, its moving average, optimiser, step; on disk and in memory.

<run>/config.toml            the run's document, as given; a run is only resumed with the same values
<run>/init_from.txt          the model whose weights it began with, where it began with one
<run>/checkpoints/last/      everything, for an exact resume
<run>/checkpoints/best/      the averaged network of the best validation of the last phase
<run>/history.csv            a row per validation
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import keras
import tensorflow as tf

from model.contract import Manifest, verify
from model.u2net import u2net
from training.batch_norm import with_fused_batch_norm
from training.config import NetworkConfig, TrainConfig, load_config
from training.initial_weights import load_artifact_weights


class RunError(RuntimeError):
    """The run cannot go on; the message says why and what to do."""


def claim(run_dir: Path, document: Path, config: TrainConfig, init_from: Path | None = None) -> None:
    """Keep a copy of the document in a new run directory, and the name of the model it begins with.

    Raises RunError when the directory holds a run of other values, or one that began with other weights: half a
    run with one recipe and half with another would be nobody's result. An existing run may be taken up without
    `init_from`; its weights come from the checkpoint anyway. Raises ContractError for a damaged artifact.
    """
    origin = _origin(init_from)
    copy, note = run_dir / "config.toml", run_dir / "init_from.txt"
    if not copy.exists():
        run_dir.mkdir(parents=True, exist_ok=True)
        if origin:
            note.write_text(origin, encoding="utf-8")
        shutil.copyfile(document, copy)
        return
    if load_config(copy).digest() != config.digest():
        raise RunError(f"{run_dir} was begun with other values than {document}; give another --run-dir")
    if origin and origin != (note.read_text(encoding="utf-8") if note.exists() else ""):
        raise RunError(f"{run_dir} was not begun with the weights of {init_from}; give another --run-dir")


def _origin(init_from: Path | None) -> str:
    """`name@version <SHA-256>` of an artifact; "" for none."""
    if init_from is None:
        return ""
    manifest = verify(init_from)
    return f"{manifest.label} {manifest.sha256}\n"


class TrainState:
    """Network, averaged network, optimiser and step counter. Build it inside the strategy's scope."""

    def __init__(self, config: TrainConfig) -> None:
        self.network = with_fused_batch_norm(build_network(config.network))
        self.average = build_network(config.network)
        self.average.set_weights(self.network.get_weights())
        self.optimizer = keras.optimizers.AdamW(
            # Set before each step: as a schedule object, Keras would trace it once for every weight.
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            global_clipnorm=config.clip_norm,
        )
        # Small vectors (biases, batch norm's scale and offset) are not decayed, as is usual.
        self.optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
        self.optimizer.build(self.network.trainable_variables)
        self.step = tf.Variable(0, dtype=tf.int64, name="step")

    def begin_with(self, artifact: Path) -> Manifest:
        """Take an artifact's weights. Raises ContractError or InitialWeightsError."""
        manifest = load_artifact_weights(artifact, self.network)
        self.average.set_weights(self.network.get_weights())
        return manifest


class Checkpoints:
    """The two checkpoints of a run directory. Each is written beside its predecessor, which goes only afterwards."""

    def __init__(self, run_dir: Path, state: TrainState) -> None:
        everything = tf.train.Checkpoint(
            network=state.network,
            average=state.average,
            optimizer=state.optimizer,
            step=state.step,
        )
        folder = run_dir / "checkpoints"
        self._last = tf.train.CheckpointManager(everything, str(folder / "last"), max_to_keep=2)
        self._best = tf.train.CheckpointManager(
            tf.train.Checkpoint(average=state.average), str(folder / "best"), max_to_keep=1
        )
        self._state = state

    def restore_last(self) -> bool:
        """Take up the last checkpoint; False when there is none."""
        if self._last.latest_checkpoint is None:
            return False
        status = self._last.checkpoint.restore(self._last.latest_checkpoint)
        status.assert_existing_objects_matched()
        return True

    def save_last(self) -> None:
        self._last.save(checkpoint_number=int(self._state.step))

    def save_best(self) -> None:
        self._best.save(checkpoint_number=int(self._state.step))


def build_network(config: NetworkConfig) -> keras.Model:
    return u2net(config.variant, width=config.width)


def load_trained(run_dir: Path, config: TrainConfig) -> tuple[keras.Model, str]:
    """The averaged network of a run and the checkpoint it came from: the best validated one, else the last.

    Raises FileNotFoundError when the run has no checkpoint yet.
    """
    for kind in ("best", "last"):
        path = tf.train.latest_checkpoint(str(run_dir / "checkpoints" / kind))
        if path is not None:
            average = build_network(config.network)
            status = tf.train.Checkpoint(average=average).restore(path)
            status.assert_existing_objects_matched().expect_partial()
            return average, Path(path).name.replace("ckpt", kind)
    raise FileNotFoundError(f"{run_dir}: no checkpoint yet; train first")


def learning_rate(config: TrainConfig, step: tf.Tensor) -> tf.Tensor:
    """The rate of step 0, 1, …: a linear warm-up from a tenth, then a cosine down to a hundredth at the last step."""
    t = tf.cast(step, tf.float32)
    warmup = max(1, min(config.warmup_steps, config.total_steps // 2))
    rising = 0.1 + 0.9 * t / warmup
    done = (t - warmup) / max(1, config.total_steps - warmup)
    falling = 0.01 + 0.99 * 0.5 * (1 + tf.cos(math.pi * tf.clip_by_value(done, 0.0, 1.0)))
    return config.learning_rate * tf.where(t < warmup, rising, falling)
