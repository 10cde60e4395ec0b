"""A quick look at a network during training: its mattes at the network's own size against the shrunken truth.

Not the figures to publish: those come from `training.evaluate`, on an exported artifact at full size.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from model.transforms import to_model_input
from model.u2net import normalise
from training.dataset import Pair
from training.images import read_alpha, read_image
from training.metrics import mean_iou

BATCH = 8


class ValidationSet:
    """The pairs at `size` × `size` in memory: images uint8 `[M,size,size,3]`, alphas float32 `[M,size,size]`."""

    def __init__(self, network: keras.Model, pairs: Sequence[Pair], size: int) -> None:
        self._images = np.stack([to_model_input(read_image(pair.image), size) for pair in pairs])
        self._alphas = np.stack([_shrink(read_alpha(pair.alpha), size) for pair in pairs])
        self._matte = tf.function(
            lambda images: tf.sigmoid(network(normalise(images), training=False)[0]),
            input_signature=[tf.TensorSpec([None, size, size, 3], tf.uint8)],
        )

    def score(self) -> dict[str, float]:
        """Mean MAD and mIoU over the pairs, with the network's weights of now."""
        parts = [
            self._matte(tf.constant(self._images[i : i + BATCH])).numpy()
            for i in range(0, len(self._images), BATCH)
        ]
        predicted = np.concatenate(parts)[:, :, :, 0]
        pairs = list(zip(predicted, self._alphas, strict=True))
        return {
            "MAD": float(np.mean([np.abs(p - t).mean() for p, t in pairs])),
            "mIoU": float(np.mean([mean_iou(p, t) for p, t in pairs])),
        }


def _shrink(alpha: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    return cv2.resize(alpha, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
