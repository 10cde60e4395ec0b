"""The training run: one custom step under `tf.distribute`, from one CPU to several GPUs or hosts.

In: a TrainConfig, the data and a run directory. Out: checkpoints and `history.csv` in that directory. A run that
exists is taken up where it was: weights, average, optimiser and data order continue as if it had never stopped.
Keras `fit` is not used: it fails across hosts (keras #20585).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import keras
import tensorflow as tf

from model.u2net import normalise
from training.config import PhaseConfig, TrainConfig
from training.dataset import Pair, training_samples
from training.history import History
from training.losses import deep_supervision_loss
from training.progress import Progress
from training.state import Checkpoints, RunError, TrainState, learning_rate
from training.validation import ValidationSet


@dataclass(frozen=True, slots=True)
class TrainData:
    """Pairs to train on, pairs to validate on, and pictures without people (may be empty)."""

    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    backgrounds: tuple[Path, ...]


def train(
    config: TrainConfig, data: TrainData, run_dir: Path, progress: Progress, init_from: Path | None = None
) -> bool:
    """Train to the last step. True when it was reached, False when a signal asked to stop before.

    A new run begins with the weights of the artifact `init_from`, where one is given. SIGINT and SIGTERM end the
    run after the step in hand, with a checkpoint. Raises RunError when the loss is not finite. `run_dir` is claimed
    before (`training.state.claim`).
    """
    _set_precision(config)
    strategy = choose_strategy()
    with strategy.scope():
        state = TrainState(config)
        checkpoints = Checkpoints(run_dir, state)
        origin = _restore_or_begin(state, checkpoints, init_from)
    history = History(run_dir / "history.csv", up_to_step=int(state.step))
    progress.start(config, data, state, origin=origin, replicas=strategy.num_replicas_in_sync)
    run = _Run(config, data, strategy, state, checkpoints, history, progress)
    with _stop_on_signal() as stopping:
        for end, phase in remaining_phases(config, int(state.step)):
            if not run.train_phase(end, phase, stopping):
                return False
    return True


def _restore_or_begin(state: TrainState, checkpoints: Checkpoints, init_from: Path | None) -> str:
    """Where the run's weights are from, in words; a checkpoint comes before `init_from`."""
    if checkpoints.restore_last():
        return f"resumed at step {int(state.step)}"
    if init_from is not None:
        return f"from the weights of {state.begin_with(init_from).label}"
    return "from scratch"


@dataclass(slots=True)
class _Run:
    config: TrainConfig
    data: TrainData
    strategy: tf.distribute.Strategy
    state: TrainState
    checkpoints: Checkpoints
    history: History
    progress: Progress

    def train_phase(self, end: int, phase: PhaseConfig, stopping: Callable[[], bool]) -> bool:
        """Steps at one input size until step `end`; False when a signal stopped it."""
        validation = ValidationSet(
            self.state.average, self.data.validation, phase.input_size, self.config.network.geometry
        )
        step = _compiled_step(self.strategy, self.state, self.config)
        for batch in self.strategy.experimental_distribute_dataset(self._samples(end, phase)):
            loss = float(step(*batch[:2]))
            if not tf.math.is_finite(loss):
                raise RunError(self._not_finite(batch[2]))
            now = int(self.state.step)
            self.progress.step(now, loss, phase.input_size)
            stop = stopping()
            if now % self.config.validate_every == 0 or now == end:
                self._validate(now, validation, phase.input_size)
            if now % self.config.checkpoint_every == 0 or now == end or stop:
                self.checkpoints.save_last()
            if stop:
                return False
        return True

    def _samples(self, end: int, phase: PhaseConfig) -> tf.data.Dataset:
        return training_samples(
            self.data.train,
            self.data.backgrounds,
            self.config.augment,
            size=phase.input_size,
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            first_step=int(self.state.step),
            last_step=end,
        )

    def _validate(self, step: int, validation: ValidationSet, size: int) -> None:
        scores = validation.score()
        best = self.history.add(
            step, size, self.progress.mean_loss(), scores, float(self.state.optimizer.learning_rate)
        )
        if best:
            self.checkpoints.save_best()
        self.progress.validated(step, scores, best=best)

    def _not_finite(self, indices: tf.Tensor) -> str:
        local = self.strategy.experimental_local_results(indices)
        stems = [self.data.train[int(i)].stem for part in local for i in part]
        return (
            f"the loss is not finite at step {int(self.state.step)}; the batch was {', '.join(stems)}. "
            "Lower learning_rate, or use precision = float32; the last checkpoint is from before."
        )


def _compiled_step(
    strategy: tf.distribute.Strategy, state: TrainState, config: TrainConfig
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """`(image, alpha) -> mean loss`: one optimiser step on all replicas, then the moving average."""

    def on_replica(image: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = state.network(normalise(image), training=True)
            # The optimiser sums the replicas' gradients: each replica takes its share of the mean.
            loss = deep_supervision_loss(alpha, logits, config.loss) / strategy.num_replicas_in_sync
        variables = state.network.trainable_variables
        state.optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    @tf.function(reduce_retracing=False)
    def step(image: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
        state.optimizer.learning_rate.assign(learning_rate(config, state.step))
        losses = strategy.run(on_replica, args=(image, alpha))
        state.step.assign_add(1)
        _follow(state, config.ema_decay)
        return strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    return step


def _follow(state: TrainState, decay: float) -> None:
    """Exponential moving average of every weight, with a short memory at first: min(decay, (1+t)/(10+t))."""
    t = tf.cast(state.step, tf.float32)
    keep = tf.minimum(decay, (1 + t) / (10 + t))
    for average, weight in zip(state.average.weights, state.network.weights, strict=True):
        average.assign(average * keep + weight * (1 - keep))


def choose_strategy() -> tf.distribute.Strategy:
    """Several hosts where TF_CONFIG describes them, else every GPU of this host, else its CPU."""
    if os.environ.get("TF_CONFIG"):
        return tf.distribute.MultiWorkerMirroredStrategy()
    gpus = tf.config.list_logical_devices("GPU")
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.OneDeviceStrategy("/gpu:0" if gpus else "/cpu:0")


def _set_precision(config: TrainConfig) -> None:
    """bfloat16 by Keras's policy on a GPU; on a CPU by oneDNN's graph rewrite, which is faster there."""
    wanted = config.precision == "bfloat16"
    gpu = bool(tf.config.list_physical_devices("GPU"))
    keras.mixed_precision.set_global_policy("mixed_bfloat16" if wanted and gpu else "float32")
    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": wanted and not gpu})
    keras.utils.set_random_seed(config.seed)


def remaining_phases(config: TrainConfig, done: int) -> Iterator[tuple[int, PhaseConfig]]:
    """`(end step, phase)` of the phases that are not finished after `done` steps."""
    end = 0
    for phase in config.phases:
        end += phase.steps
        if done < end:
            yield end, phase


@contextmanager
def _stop_on_signal() -> Iterator[Callable[[], bool]]:
    """A question that turns true after SIGINT or SIGTERM; a second signal acts at once."""
    received: list[float] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        received.append(time.monotonic())
        for each, handler in previous.items():
            signal.signal(each, handler)

    previous = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
