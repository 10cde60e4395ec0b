"""The training loop: steps, validations and checkpoints in turn, on one device or many, on one host or several.

In: a TrainConfig, the data and a run directory. Out: checkpoints and everything to look at in that directory. A run
that exists is resumed: weights, average, optimiser and data order continue as if it had never stopped. SIGINT and
SIGTERM end it between two steps. Keras `fit` is not used: it fails across hosts (keras #20585).
"""

from __future__ import annotations

import hashlib
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import keras
import tensorflow as tf

from training.config import PhaseConfig, TrainConfig
from training.data.dataset import Pair, TrainData
from training.data.input_pipeline import ReplicaRange, name_unreadable_files, training_batches
from training.engine.callbacks import RunCallbacks
from training.engine.checkpoints import Checkpoints
from training.engine.distributed import (
    broadcast_state,
    check_hosts_agree,
    choose_strategy,
    describe_devices,
    host_count,
    host_index,
    name_lost_hosts,
)
from training.engine.optimizer import learning_rate
from training.engine.progress import Progress
from training.engine.run_dir import RunError
from training.engine.state import TrainState
from training.engine.train_step import StepResult, TrainStep, compile_train_step
from training.engine.validation import ValidationSet


def train(
    config: TrainConfig, data: TrainData, run_dir: Path, progress: Progress, init_from: Path | None = None
) -> bool:
    """Train to the last step. True when it was reached, False when a signal asked to stop before.

    A new run begins with the weights of the artifact `init_from`, where one is given. SIGINT and SIGTERM, to any
    host, end the run after the step in hand, with a checkpoint. Raises RunError when the loss is not finite, or when
    hosts do not agree or go away. `run_dir` is claimed before (`training.engine.run_dir.claim`); only host 0 uses it.
    """
    strategy = choose_strategy()
    set_precision(config)
    replicas = strategy.num_replicas_in_sync
    if config.batch_size % (replicas * config.micro_batches):
        raise RunError(
            f"batch_size {config.batch_size} cannot be shared by {replicas} replicas "
            f"in {config.micro_batches} micro_batches"
        )
    with name_lost_hosts(strategy):
        check_hosts_agree(strategy, "document", config.digest())
        check_hosts_agree(strategy, "training pictures", _names_digest(data.train))
        with strategy.scope():
            state = TrainState(config)
        checkpoints = Checkpoints(run_dir, state)
        origin = _restore_or_begin(strategy, state, checkpoints, init_from)
        progress.on_train_begin(
            config,
            data,
            state,
            origin=origin,
            device=describe_devices(),
            replicas=replicas,
            host=host_index(strategy),
        )
        finished = _TrainingLoop(config, data, strategy, state, checkpoints, run_dir, progress).run()
        if host_index(strategy) == 0:
            progress.on_train_end(run_dir, finished=finished)
        return finished


def _restore_or_begin(
    strategy: tf.distribute.Strategy, state: TrainState, checkpoints: Checkpoints, init_from: Path | None
) -> str:
    """Where the run's weights are from, in words; a checkpoint comes before `init_from`."""
    if host_index(strategy) > 0:
        broadcast_state(strategy, state)
        return f"from host 0, at step {int(state.step.numpy())}"
    if checkpoints.restore_last():
        origin = f"resumed at step {int(state.step.numpy())}"
    elif init_from is not None:
        origin = f"from the weights of {state.load_artifact(init_from).label}"
    else:
        origin = "from scratch"
    broadcast_state(strategy, state)
    return origin


@dataclass(frozen=True, slots=True)
class _PendingStep:
    """A step that the device may still be computing."""

    step: int
    result: tf.Tensor
    indices: tf.Tensor  # of the pairs in its batch


class _TrainingLoop:
    def __init__(
        self,
        config: TrainConfig,
        data: TrainData,
        strategy: tf.distribute.Strategy,
        state: TrainState,
        checkpoints: Checkpoints,
        run_dir: Path,
        progress: Progress,
    ) -> None:
        self._config, self._data, self._strategy, self._state = config, data, strategy, state
        self._checkpoints, self._progress = checkpoints, progress
        self._step: TrainStep = compile_train_step(strategy, state, config)
        self._now = int(state.step.numpy())
        self._callbacks = RunCallbacks(run_dir, self._now) if host_index(strategy) == 0 else None

    def run(self) -> bool:
        """Train all phases that are left; False when a signal stopped it."""
        try:
            with stop_on_signal() as stopping:
                return all(
                    self._phase(end, phase, stopping)
                    for end, phase in remaining_phases(self._config, self._now)
                )
        finally:
            if self._callbacks is not None:
                self._callbacks.close()

    def _phase(self, end: int, phase: PhaseConfig, stopping: Callable[[], bool]) -> bool:
        """Steps at one input size until step `end`; False when a signal stopped it.

        The loss of a step is read after the next one was launched, so that a GPU never waits for Python; before a
        validation or a checkpoint it is read at once, so that no bad step is ever kept.
        """
        validation: ValidationSet | None = None
        previous: _PendingStep | None = None
        # Several hosts stop together, when a step's result says that one of them wants to.
        alone = host_count(self._strategy) == 1
        for image, alpha, indices in name_unreadable_files(self._batches(end, phase), self._data.sources):
            pending = _PendingStep(
                self._now + 1, self._step(image, alpha, tf.constant(float(stopping()))), indices
            )
            self._now += 1
            stop = self._finish(previous, phase) or (alone and stopping())
            previous = pending
            validate = self._now % self._config.validate_every == 0 or self._now == end
            save = self._now % self._config.checkpoint_every == 0 or self._now == end
            if validate or save or stop:
                stop |= self._finish(previous, phase)
                previous = None
            if validate and self._callbacks is not None:
                validation = validation or self._validation_set(phase)
                self._validate(validation, phase.input_size)
            if (save or stop) and self._callbacks is not None:
                self._checkpoints.save_last()
            if stop:
                return False
        return True

    def _batches(self, end: int, phase: PhaseConfig) -> Iterator[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
        first = self._now

        def own(context: tf.distribute.InputContext) -> tf.data.Dataset:
            local = context.num_replicas_in_sync // context.num_input_pipelines
            return training_batches(
                self._data.sources,
                self._config.augment,
                size=phase.input_size,
                batch_size=self._config.batch_size,
                seed=self._config.seed,
                first_step=first,
                last_step=end,
                replicas=ReplicaRange(context.input_pipeline_id * local, local, context.num_replicas_in_sync),
            )

        return iter(self._strategy.distribute_datasets_from_function(own))

    def _finish(self, pending: _PendingStep | None, phase: PhaseConfig) -> bool:
        """Wait for a step and report it; True when some host wants to stop. Raises RunError for a loss that is not
        finite."""
        if pending is None:
            return False
        result = StepResult.read(pending.result)
        if not math.isfinite(result.loss):
            raise RunError(self._not_finite(pending))
        self._progress.on_step_end(pending.step, result.loss, phase.input_size)
        if self._callbacks is not None:
            self._callbacks.on_step_end(pending.step, result, self._rate(pending.step))
        return result.stop

    def _rate(self, step: int) -> float:
        """The learning rate that a step was made with."""
        return float(learning_rate(self._config, tf.constant(step - 1)))

    def _validation_set(self, phase: PhaseConfig) -> ValidationSet:
        network = self._state.averaged_network()
        return ValidationSet(network, self._data.validation, phase.input_size, self._config.network.geometry)

    def _validate(self, validation: ValidationSet, size: int) -> None:
        self._state.averaged_network()
        scores = validation.score()
        assert self._callbacks is not None
        best = self._callbacks.on_validation_end(
            self._now, size, scores, self._rate(self._now), validation.sheet()
        )
        if best:
            self._checkpoints.save_best()
        self._progress.on_validation_end(self._now, scores, best=best)

    def _not_finite(self, pending: _PendingStep) -> str:
        local = self._strategy.experimental_local_results(pending.indices)
        stems = [self._data.train[int(i)].stem for part in local for i in part]
        where = " of this host" if host_count(self._strategy) > 1 else ""
        return (
            f"the loss is not finite at step {pending.step}; the batch{where} was {', '.join(stems)}. "
            "Lower learning_rate, or use precision = float32; the last checkpoint is from before."
        )


def _names_digest(pairs: tuple[Pair, ...]) -> str:
    return hashlib.sha256("\n".join(pair.stem for pair in pairs).encode()).hexdigest()


def set_precision(config: TrainConfig) -> None:
    """16 bits by Keras's policy on a GPU; bfloat16 on a CPU by oneDNN's graph rewrite, which is faster there."""
    rewrite = config.precision == "bfloat16" and not tf.config.list_physical_devices("GPU")
    policy = "float32" if config.precision == "float32" or rewrite else f"mixed_{config.precision}"
    keras.mixed_precision.set_global_policy(policy)
    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": rewrite})
    keras.utils.set_random_seed(config.seed)


def remaining_phases(config: TrainConfig, done: int) -> Iterator[tuple[int, PhaseConfig]]:
    """`(end step, phase)` of the phases that are not finished after `done` steps."""
    end = 0
    for phase in config.phases:
        end += phase.steps
        if done < end:
            yield end, phase


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns True after SIGINT or SIGTERM; a second signal acts at once."""
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
