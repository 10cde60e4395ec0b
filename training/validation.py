"""A quick look at a network during training: its mattes at the network's own size against the shrunken truth.

Not the figures to publish: those come from `training.evaluate`, on an exported artifact at full size.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from model.transforms import content_box, stretch, to_model_input
from model.u2net import normalise
from training.dataset import Pair
from training.images import read_alpha, read_image
from training.metrics import mean_iou

BATCH = 8


class ValidationSet:
    """The pairs at `size` × `size` in memory: images uint8 `[M,size,size,3]`, and of each alpha, float32, the part of
    the square that holds the photo."""

    def __init__(self, network: keras.Model, pairs: Sequence[Pair], size: int, geometry: str) -> None:
        pixels = [read_image(pair.image) for pair in pairs]
        self._images = np.stack([to_model_input(image, size, geometry) for image in pixels])
        self._boxes = [content_box(image.shape[0], image.shape[1], size, geometry) for image in pixels]
        self._alphas = [
            stretch(read_alpha(pair.alpha), rows.stop - rows.start, columns.stop - columns.start)
            for pair, (rows, columns) in zip(pairs, self._boxes, strict=True)
        ]
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
        squares = np.concatenate(parts)[:, :, :, 0]
        predicted = [square[box] for square, box in zip(squares, self._boxes, strict=True)]
        pairs = list(zip(predicted, self._alphas, strict=True))
        return {
            "MAD": float(np.mean([np.abs(p - t).mean() for p, t in pairs])),
            "mIoU": float(np.mean([mean_iou(p, t) for p, t in pairs])),
        }
