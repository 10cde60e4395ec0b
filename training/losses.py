"""What a matte is trained on: seven logit maps against one alpha, to one number.

In: logits `[N,H,W,1]` float32, the fused map first, and alpha `[N,H,W,1]` float32 in 0..1. Out: a scalar.
Written in `keras.ops` alone, so that it runs on every Keras backend. It knows no weights, images or data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
from keras import ops


@dataclass(frozen=True, slots=True)
class LossWeights:
    """The weight of each term on one map, and of each map. `side` is the weight of each of the six side maps
    beside the fused one's 1; the paper uses 1 everywhere (Eq. 2), and binary cross-entropy alone (Eq. 3)."""

    cross_entropy: float = 1.0
    absolute: float = 1.0
    soft_iou: float = 0.5
    side: float = 0.5


def deep_supervision_loss(
    alpha: keras.KerasTensor, logits: Sequence[keras.KerasTensor], weights: LossWeights
) -> keras.KerasTensor:
    """The weighted mean of `matte_loss` over the fused and the side maps, so that its size does not grow
    with the number of maps."""
    fused, *sides = logits
    total = matte_loss(alpha, fused, weights)
    for side in sides:
        total += weights.side * matte_loss(alpha, side, weights)
    return total / (1 + weights.side * len(sides))


def matte_loss(
    alpha: keras.KerasTensor, logits: keras.KerasTensor, weights: LossWeights
) -> keras.KerasTensor:
    """One map's loss: soft-label cross-entropy, mean |d|, and 1 - soft IoU (per image, then the mean)."""
    predicted = ops.sigmoid(logits)
    return (
        weights.cross_entropy * ops.mean(soft_cross_entropy(alpha, logits))
        + weights.absolute * ops.mean(ops.abs(predicted - alpha))
        + weights.soft_iou * ops.mean(1 - soft_iou(alpha, predicted))
    )


def soft_cross_entropy(alpha: keras.KerasTensor, logits: keras.KerasTensor) -> keras.KerasTensor:
    """Per-pixel binary cross-entropy of logits against a soft label, minus the label's own entropy, so that
    a perfect soft matte costs 0. Computed without overflow for any finite logit."""
    cross = ops.maximum(logits, 0.0) - logits * alpha + ops.log1p(ops.exp(-ops.abs(logits)))
    inside = ops.clip(alpha, 1e-6, 1 - 1e-6)
    entropy = -(inside * ops.log(inside) + (1 - inside) * ops.log(1 - inside))
    return cross - entropy


def soft_iou(alpha: keras.KerasTensor, predicted: keras.KerasTensor) -> keras.KerasTensor:
    """`Σ min / Σ max` per image, `[N]`: 1 exactly when the two mattes are equal, and also when both are empty."""
    axes = (1, 2, 3)
    smaller = ops.sum(ops.minimum(alpha, predicted), axis=axes)
    larger = ops.sum(ops.maximum(alpha, predicted), axis=axes)
    return (smaller + 1.0) / (larger + 1.0)
