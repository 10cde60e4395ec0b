"""A photo of which is known where the person stands, a network that says so, and one that sees nobody.

The photo has the size of the stand-in's input, so that every pixel of the matte is known, too.
"""

from __future__ import annotations

import numpy as np

from app.imaging.crop import Box
from app.inference.predictor import Alphas, Batch
from app.inference.registry import STAND_IN
from tests.support.images import Image

SIDE = STAND_IN.input_size
BOX = Box(8, 16, 32, 40)
PERSON = (200, 60, 40)
BEHIND = (20, 120, 220)


def standing() -> Image:
    """uint8 `[SIDE,SIDE,3]`: the person fills BOX."""
    image = np.empty((SIDE, SIDE, 3), np.uint8)
    image[:] = BEHIND
    image[BOX.part] = PERSON
    return image


def alpha_of_standing() -> Image:
    """The alpha that is right for it, uint8 `[SIDE,SIDE]`."""
    alpha = np.zeros((SIDE, SIDE), np.uint8)
    alpha[BOX.part] = 255
    return alpha


def finds_standing(batch: Batch) -> Alphas:
    """Finds the person in BOX, whatever the photo."""
    return np.repeat(alpha_of_standing()[None] / np.float32(255), len(batch), axis=0)


def finds_nobody(batch: Batch) -> Alphas:
    """Finds a speck: too little for a person, but not nothing."""
    alphas = np.zeros(batch.shape[:3], np.float32)
    alphas[:, 5:7, 5:7] = 1
    return alphas
