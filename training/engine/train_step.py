"""One training step as one compiled function, the same for one CPU, several GPUs and several hosts.

In: a host's part of a batch, per replica image float32 `[b,S,S,3]` in 0..255 and alpha float32 `[b,S,S,1]` in 0..1.
Out: the state is one step further; what there is to tell of it is the same on every host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from model.u2net import normalise
from training.config import TrainConfig
from training.engine.optimizer import update, value
from training.engine.state import TrainState
from training.losses import deep_supervision_loss

# (gradient of the scaled loss [P], batch norm's new statistics [Q], the loss)
Backward = Callable[
    [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]
]

# (image, alpha, does this host want to stop: 0 or 1) -> [loss, gradient's norm, hosts' replicas that want to stop]
Step = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


@dataclass(frozen=True, slots=True)
class Told:
    """What a step told: the mean loss over all replicas, the gradient's norm, whether any host wants to stop."""

    loss: float
    gradient_norm: float
    stop: bool

    @classmethod
    def read(cls, told: tf.Tensor) -> Told:
        """Waits for the device."""
        loss, norm, stopping = told.numpy().tolist()
        return cls(loss, norm, stopping > 0)


def compiled_step(strategy: tf.distribute.Strategy, state: TrainState, config: TrainConfig) -> Step:
    """The step of this strategy; a new input size is compiled anew."""
    replicas = strategy.num_replicas_in_sync
    backward = _backward(state, config, replicas)

    def on_replica(image: tf.Tensor, alpha: tf.Tensor, stopping: tf.Tensor) -> tf.Tensor:
        weights, moving = value(state.weights), value(state.moving)
        gradient, moved, loss = backward(image, alpha, weights, moving, value(state.loss_scale))
        told = tf.stack([loss, stopping])
        if replicas > 1:
            # Before clipping, so that the norm is that of the whole batch's gradient.
            context = tf.distribute.get_replica_context()
            # Of the statistics their change, so that what is frozen stays the same to the bit.
            gradient, change, told = context.all_reduce(
                tf.distribute.ReduceOp.SUM, [gradient, moved - moving, told]
            )
            moved = moving + change / replicas
        norm = update(state, config, gradient, moved)
        return tf.stack([told[0], norm, told[1]])

    @tf.function(reduce_retracing=False)
    def step(image: tf.Tensor, alpha: tf.Tensor, stopping: tf.Tensor) -> tf.Tensor:
        told = strategy.run(on_replica, args=(image, alpha, stopping))
        return strategy.experimental_local_results(told)[0]

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
