"""Validation during training: mattes at the network's own size against the shrunken truth.

Not the figures to publish: those come from `training.evaluation.evaluate`, on an exported artifact at full size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from model.transforms import content_box, stretch, to_model_input
from model.u2net import normalise
from training.data.dataset import Pair
from training.data.images import as_grey, on_green
from training.data.masks import read_portrait
from training.metrics import mean_iou

BATCH_SIZE: Final = 8
SHEET_PICTURES: Final = 12


class ValidationSet:
    """The pairs at `size` × `size` in memory: images uint8 and alphas float32 `[M,size,size]`, and of each square the
    part that holds the photo."""

    def __init__(self, network: keras.Model, pairs: Sequence[Pair], size: int, geometry: str) -> None:
        squares, alphas, boxes = zip(*(_squares(pair, size, geometry) for pair in pairs), strict=True)
        self._images, self._alphas, self._boxes = np.stack(squares), np.stack(alphas), boxes
        self._predicted = np.zeros_like(self._alphas)
        self._matte = tf.function(
            lambda images: tf.sigmoid(network(normalise(images), training=False)[0]),
            input_signature=[tf.TensorSpec([None, size, size, 3], tf.uint8)],
        )

    def score(self) -> dict[str, float]:
        """Mean MAD and mIoU over the pairs, with the network's weights of now."""
        for i in range(0, len(self._images), BATCH_SIZE):
            matte = self._matte(tf.constant(self._images[i : i + BATCH_SIZE]))
            self._predicted[i : i + BATCH_SIZE] = matte.numpy()[:, :, :, 0]
        pairs = [
            (predicted[box], truth[box])
            for predicted, truth, box in zip(self._predicted, self._alphas, self._boxes, strict=True)
        ]
        return {
            "MAD": float(np.mean([np.abs(p - t).mean() for p, t in pairs])),
            "mIoU": float(np.mean([mean_iou(p, t) for p, t in pairs])),
        }

    def sheet(self) -> NDArray[np.uint8]:
        """Mattes of the last `score`, evenly spaced over the set (`training.engine.validation.validation_sheet`)."""
        count = min(SHEET_PICTURES, len(self._images))
        shown = np.linspace(0, len(self._images) - 1, count).round().astype(int)
        return validation_sheet(self._images[shown], self._alphas[shown], self._predicted[shown])


def validation_sheet(
    images: Sequence[NDArray[np.uint8]],
    truths: Sequence[NDArray[np.float32]],
    predictions: Sequence[NDArray[np.float32]],
) -> NDArray[np.uint8]:
    """A row per picture: photo, true matte on green, this matte on green, this matte. RGB uint8; all of one size
    `[S,S]`, which the sheet keeps."""
    rows = [
        np.hstack([image, on_green(image, truth), on_green(image, matte), as_grey(matte)])
        for image, truth, matte in zip(images, truths, predictions, strict=True)
    ]
    half = (len(rows) + 1) // 2
    rows += [np.zeros_like(rows[0])] * (2 * half - len(rows))
    return np.asarray(np.hstack([np.vstack(rows[:half]), np.vstack(rows[half:])]), np.uint8)


def _squares(
    pair: Pair, size: int, geometry: str
) -> tuple[NDArray[np.uint8], NDArray[np.float32], tuple[slice, slice]]:
    """Photo and alpha of a pair in the network's square, alpha 0 in the bars, and the part between them."""
    image, matte = read_portrait(pair.image, pair.alpha)
    truth = matte.astype(np.float32) / np.float32(255)
    rows, columns = box = content_box(image.shape[0], image.shape[1], size, geometry)
    alpha = np.zeros((size, size), np.float32)
    alpha[box] = stretch(truth, rows.stop - rows.start, columns.stop - columns.start)
    return to_model_input(image, size, geometry), alpha, box
