"""The training run: steps, validations and checkpoints in turn, from one CPU to several hosts.

In: a TrainConfig, the data and a run directory. Out: checkpoints and everything to look at in that directory. A run
that exists is taken up where it was: weights, average, optimiser and data order continue as if it had never stopped.
Keras `fit` is not used: it fails across hosts (keras #20585).
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
from training.data.input_pipeline import Share, named_unreadable, training_samples
from training.engine.callbacks import Watch
from training.engine.checkpoints import Checkpoints
from training.engine.distributed import (
    check_agreement,
    choose_strategy,
    devices_in_words,
    host_count,
    host_index,
    lost_hosts_named,
    share_state,
)
from training.engine.optimizer import learning_rate
from training.engine.progress import Progress
from training.engine.run_dir import RunError
from training.engine.state import TrainState
from training.engine.train_step import Step, Told, compiled_step
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
    with lost_hosts_named(strategy):
        check_agreement(strategy, "document", config.digest())
        check_agreement(strategy, "training pictures", _names_digest(data.train))
        with strategy.scope():
            state = TrainState(config)
        checkpoints = Checkpoints(run_dir, state)
        origin = _restore_or_begin(strategy, state, checkpoints, init_from)
        progress.start(
            config,
            data,
            state,
            origin=origin,
            device=devices_in_words(),
            replicas=replicas,
            host=host_index(strategy),
        )
        run = _Run(config, data, strategy, state, checkpoints, run_dir, progress)
        finished = run.to_the_end()
        if host_index(strategy) == 0:
            progress.ended(run_dir, finished=finished)
        return finished


def _restore_or_begin(
    strategy: tf.distribute.Strategy, state: TrainState, checkpoints: Checkpoints, init_from: Path | None
) -> str:
    """Where the run's weights are from, in words; a checkpoint comes before `init_from`."""
    if host_index(strategy) > 0:
        share_state(strategy, state)
        return f"from host 0, at step {int(state.step.numpy())}"
    if checkpoints.restore_last():
        origin = f"resumed at step {int(state.step.numpy())}"
    elif init_from is not None:
        origin = f"from the weights of {state.begin_with(init_from).label}"
    else:
        origin = "from scratch"
    share_state(strategy, state)
    return origin


@dataclass(frozen=True, slots=True)
class _Launched:
    """A step that the device may still be computing."""

    step: int
    told: tf.Tensor
    indices: tf.Tensor  # of the pairs in its batch


class _Run:
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
        self._step: Step = compiled_step(strategy, state, config)
        self._now = int(state.step.numpy())
        self._watch = Watch(run_dir, self._now) if host_index(strategy) == 0 else None

    def to_the_end(self) -> bool:
        """False when a signal stopped it."""
        try:
            with stop_on_signal() as stopping:
                return all(
                    self._phase(end, phase, stopping)
                    for end, phase in remaining_phases(self._config, self._now)
                )
        finally:
            if self._watch is not None:
                self._watch.close()

    def _phase(self, end: int, phase: PhaseConfig, stopping: Callable[[], bool]) -> bool:
        """Steps at one input size until step `end`; False when a signal stopped it.

        The loss of a step is read after the next one was launched, so that a GPU never waits to be asked; before a
        validation or a checkpoint it is read at once, so that no bad step is ever kept.
        """
        validation: ValidationSet | None = None
        before: _Launched | None = None
        # Several hosts stop when the step tells all of them that one wants to.
        alone = host_count(self._strategy) == 1
        for image, alpha, indices in named_unreadable(self._batches(end, phase), self._data.sources):
            launched = _Launched(
                self._now + 1, self._step(image, alpha, tf.constant(float(stopping()))), indices
            )
            self._now += 1
            stop = self._settle(before, phase) or (alone and stopping())
            before = launched
            validate = self._now % self._config.validate_every == 0 or self._now == end
            save = self._now % self._config.checkpoint_every == 0 or self._now == end
            if validate or save or stop:
                stop |= self._settle(before, phase)
                before = None
            if validate and self._watch is not None:
                validation = validation or self._validation_set(phase)
                self._validate(validation, phase.input_size)
            if (save or stop) and self._watch is not None:
                self._checkpoints.save_last()
            if stop:
                return False
        return True

    def _batches(self, end: int, phase: PhaseConfig) -> Iterator[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
        first = self._now

        def own(context: tf.distribute.InputContext) -> tf.data.Dataset:
            local = context.num_replicas_in_sync // context.num_input_pipelines
            return training_samples(
                self._data.sources,
                self._config.augment,
                size=phase.input_size,
                batch_size=self._config.batch_size,
                seed=self._config.seed,
                first_step=first,
                last_step=end,
                share=Share(context.input_pipeline_id * local, local, context.num_replicas_in_sync),
            )

        return iter(self._strategy.distribute_datasets_from_function(own))

    def _settle(self, launched: _Launched | None, phase: PhaseConfig) -> bool:
        """Wait for a step and tell of it; True when some host wants to stop. Raises RunError for a loss that is not
        finite."""
        if launched is None:
            return False
        told = Told.read(launched.told)
        if not math.isfinite(told.loss):
            raise RunError(self._not_finite(launched))
        self._progress.step(launched.step, told.loss, phase.input_size)
        if self._watch is not None:
            self._watch.step(launched.step, told, self._rate(launched.step))
        return told.stop

    def _rate(self, step: int) -> float:
        """The learning rate that a step was made with."""
        return float(learning_rate(self._config, tf.constant(step - 1)))

    def _validation_set(self, phase: PhaseConfig) -> ValidationSet:
        network = self._state.averaged_network()
        return ValidationSet(network, self._data.validation, phase.input_size, self._config.network.geometry)

    def _validate(self, validation: ValidationSet, size: int) -> None:
        self._state.averaged_network()
        scores = validation.score()
        assert self._watch is not None
        best = self._watch.validated(self._now, size, scores, self._rate(self._now), validation.sheet())
        if best:
            self._checkpoints.save_best()
        self._progress.validated(self._now, scores, best=best)

    def _not_finite(self, launched: _Launched) -> str:
        local = self._strategy.experimental_local_results(launched.indices)
        stems = [self._data.train[int(i)].stem for part in local for i in part]
        where = " of this host" if host_count(self._strategy) > 1 else ""
        return (
            f"the loss is not finite at step {launched.step}; the batch{where} was {', '.join(stems)}. "
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
