"""AdamW with a moving average of the weights, and the learning rate's schedule.

In: a gradient `[P]`, summed over all replicas. Out: the vectors of a `training.engine.state.TrainState` one step
further. Loshchilov & Hutter, "Decoupled Weight Decay Regularization" (ICLR 2019), with Adam's fused kernel.

Every replica has the same gradient, and so makes the same step on its own copy, through the copy's resource handle:
`assign` on a distributed variable would send the result around again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import tensorflow as tf

from training.config import TrainConfig

if TYPE_CHECKING:
    from training.engine.state import TrainState

BETA_1: Final = 0.9
BETA_2: Final = 0.999
EPSILON: Final = 1e-7
# A gradient that is not finite halves float16's loss scale; so many that are double it.
LOSS_SCALE_GROWTH_STEPS: Final = 2000


def apply_gradient(
    state: TrainState, config: TrainConfig, gradient: tf.Tensor, moving: tf.Tensor
) -> tf.Tensor:
    """Make one step in a replica's context, and return the gradient's norm before clipping.

    `gradient` `[P]` is of the scaled loss, `moving` `[Q]` batch norm's new statistics. In float16 a gradient that is
    not finite changes nothing but the loss scale.
    """
    gradient /= read_variable(state.loss_scale)
    norm = tf.norm(gradient)
    if config.precision != "float16":
        _apply_finite_gradient(state, config, gradient, norm, moving)
    else:
        finite = tf.math.is_finite(norm)
        _update_loss_scale(state, finite)

        def apply() -> tf.Tensor:
            _apply_finite_gradient(state, config, gradient, norm, moving)
            return finite

        tf.cond(finite, apply, lambda: finite, name="unless_overflow")
    _assign(state.step, read_variable(state.step) + 1)
    return norm


def _apply_finite_gradient(
    state: TrainState, config: TrainConfig, gradient: tf.Tensor, norm: tf.Tensor, moving: tf.Tensor
) -> None:
    rate = learning_rate(config, read_variable(state.step))
    _assign(state.updates, read_variable(state.updates) + 1)
    updates = tf.cast(read_variable(state.updates), tf.float32)
    _decay_kernels(state, rate * config.weight_decay)
    tf.raw_ops.ResourceApplyAdam(
        var=state.weights.handle,
        m=state.first_moment.handle,
        v=state.second_moment.handle,
        beta1_power=tf.pow(BETA_1, updates),
        beta2_power=tf.pow(BETA_2, updates),
        lr=rate,
        beta1=BETA_1,
        beta2=BETA_2,
        epsilon=EPSILON,
        grad=gradient * (config.clip_norm / tf.maximum(norm, config.clip_norm)),
    )
    _assign(state.moving, moving)
    keep = tf.minimum(config.ema_decay, (1 + updates) / (10 + updates))
    _update_average(state.average, state.weights, keep)
    _update_average(state.moving_average, state.moving, keep)


def _decay_kernels(state: TrainState, share: tf.Tensor) -> None:
    """Kernels lose a share; biases and batch norm's scale and offset do not, as is usual."""
    weights, kernels = read_variable(state.weights), state.layout.kernels
    _assign(state.weights, tf.concat([weights[:kernels] * (1 - share), weights[kernels:]], 0))


def _update_average(average: tf.Variable, latest: tf.Variable, keep: tf.Tensor) -> None:
    """Exponential moving average, with a short memory at first: `keep` is min(decay, (1+t)/(10+t))."""
    before = read_variable(average)
    _assign(average, before + (read_variable(latest) - before) * (1 - keep))


def _update_loss_scale(state: TrainState, finite: tf.Tensor) -> None:
    none = tf.constant(0, tf.int64)
    good = tf.where(finite, read_variable(state.good_steps) + 1, none)
    grow = good >= LOSS_SCALE_GROWTH_STEPS
    factor = tf.where(finite, tf.where(grow, 2.0, 1.0), 0.5)
    _assign(state.loss_scale, tf.maximum(read_variable(state.loss_scale) * factor, 1.0))
    _assign(state.good_steps, tf.where(grow, none, good))


def read_variable(variable: tf.Variable) -> tf.Tensor:
    """Read this replica's copy of a variable, now."""
    return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=variable.dtype)


def _assign(variable: tf.Variable, new: tf.Tensor) -> None:
    tf.raw_ops.AssignVariableOp(resource=variable.handle, value=new)


def learning_rate(config: TrainConfig, step: tf.Tensor) -> tf.Tensor:
    """The rate of step 0, 1, …: a linear warm-up from a tenth, then a cosine down to a hundredth at the last step."""
    t = tf.cast(step, tf.float32)
    warmup = max(1, min(config.warmup_steps, config.total_steps // 2))
    rising = 0.1 + 0.9 * t / warmup
    done = (t - warmup) / max(1, config.total_steps - warmup)
    falling = 0.01 + 0.99 * 0.5 * (1 + tf.cos(math.pi * tf.clip_by_value(done, 0.0, 1.0)))
    return config.learning_rate * tf.where(t < warmup, rising, falling)
