"""One training step as one compiled function, the same for one CPU, several GPUs and several hosts.

AdamW, the weights' average and the loss scale are written on flat vectors, instead of keras.optimizers.AdamW(use_ema=
True) in a LossScaleOptimizer, because a vector is one all-reduce message per step, resumes exactly to the bit, and
takes a handful of large operations where U²-Net's 800 weights would take thousands of small ones.

In: a host's part of a batch, per replica image float32 `[b,S,S,3]` in 0..255 and alpha float32 `[b,S,S,1]` in 0..1.
Out: the state one step further, and a StepResult, which is the same on every host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from model.u2net import normalise
from training.config import TrainConfig
from training.engine.optimizer import apply_gradient, read_variable
from training.engine.state import TrainState
from training.losses import deep_supervision_loss

# (gradient of the scaled loss [P], batch norm's new statistics [Q], the loss)
Backward = Callable[
    [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]
]

# (image, alpha, does this host want to stop: 0 or 1) -> [loss, gradient's norm, hosts' replicas that want to stop]
TrainStep = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


@dataclass(frozen=True, slots=True)
class StepResult:
    """The mean loss over all replicas, the gradient's norm, and whether any host wants to stop."""

    loss: float
    gradient_norm: float
    stop: bool

    @classmethod
    def read(cls, result: tf.Tensor) -> StepResult:
        """Wait for the device, and read what TrainStep returned."""
        loss, norm, stopping = result.numpy().tolist()
        return cls(loss, norm, stopping > 0)


def compile_train_step(strategy: tf.distribute.Strategy, state: TrainState, config: TrainConfig) -> TrainStep:
    """Build the step of this strategy; TensorFlow compiles it again for each input size."""
    replicas = strategy.num_replicas_in_sync
    backward = _backward(state, config, replicas)

    def on_replica(image: tf.Tensor, alpha: tf.Tensor, stopping: tf.Tensor) -> tf.Tensor:
        weights, moving = read_variable(state.weights), read_variable(state.moving)
        gradient, moved, loss = backward(image, alpha, weights, moving, read_variable(state.loss_scale))
        sums = tf.stack([loss, stopping])
        if replicas > 1:
            # Before clipping, so that the norm is that of the whole batch's gradient.
            context = tf.distribute.get_replica_context()
            # Of the statistics their change, so that what is frozen stays the same to the bit.
            gradient, change, sums = context.all_reduce(
                tf.distribute.ReduceOp.SUM, [gradient, moved - moving, sums]
            )
            moved = moving + change / replicas
        norm = apply_gradient(state, config, gradient, moved)
        return tf.stack([sums[0], norm, sums[1]])

    @tf.function(reduce_retracing=False)
    def step(image: tf.Tensor, alpha: tf.Tensor, stopping: tf.Tensor) -> tf.Tensor:
        result = strategy.run(on_replica, args=(image, alpha, stopping))
        return strategy.experimental_local_results(result)[0]

    return step


def _backward(state: TrainState, config: TrainConfig, replicas: int) -> Backward:
    """Forward and backward pass of one replica, in as many parts as the document asks for."""
    parts = config.micro_batches

    def one(
        image: tf.Tensor, alpha: tf.Tensor, weights: tf.Tensor, moving: tf.Tensor, scale: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(weights)
            logits, moved = state.network.stateless_call(
                state.layout.split(weights),
                state.moving_layout.split(moving),
                normalise(image),
                training=True,
            )
            # Replicas and parts are summed: each takes its share of the mean.
            loss = deep_supervision_loss(alpha, logits, config.loss) / (replicas * parts)
            scaled = loss * scale
        return tape.gradient(scaled, weights), state.moving_layout.join(moved), loss

    def accumulated(
        image: tf.Tensor, alpha: tf.Tensor, weights: tf.Tensor, moving: tf.Tensor, scale: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        images, alphas = (tf.reshape(x, [parts, -1, *x.shape[1:]]) for x in (image, alpha))

        def add(
            i: tf.Tensor, gradient: tf.Tensor, moving: tf.Tensor, loss: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            more, moving, part = one(images[i], alphas[i], weights, moving, scale)
            return i + 1, gradient + more, moving, loss + part

        start = (0, tf.zeros_like(weights), moving, 0.0)
        _, gradient, moving, loss = tf.while_loop(lambda i, *_: i < parts, add, start)
        return gradient, moving, loss

    passes = one if parts == 1 else accumulated
    return tf.function(passes, jit_compile=True) if config.xla else passes
