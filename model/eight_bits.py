"""A convolution's kernel in 8 bits: how artifacts store it, and how the service multiplies by it.

In: a kernel float32 `[h,w,I,C]`, output channels last. Out: int8 values and a scale for every output channel, or that
8 bits are too few for this kernel.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

LARGEST: Final = 127  # of int8's magnitudes, the same to both sides of 0
TOO_LOPSIDED: Final = 8.0
"""How much larger than its root mean square a channel's largest weight is in kernels that 8 bits do not hold.

In the official networks it is 3 to 5, but 11 to 17 where a convolution sees a channel that is the same everywhere,
which it takes for a bias: one weight of 5.6 on a channel of 226 beside others of 0.02. The scale for such a weight
rounds the others away; of the official lite network's alphas it moves them by 0.1 on average."""

PICTURE_CHANNELS: Final = 3
"""The convolution that sees these takes a hundredth of the time and its errors go through all others: in 8 bits it
moves the official lite network's alphas of a hard photo by 0.048 on average instead of 0.015."""


def in_8_bits(kernel: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Values int8 `[h,w,I,C]` and scales float32 `[C]`: the largest of each output channel is LARGEST, so a kernel
    that was stored so comes out as it was stored. Scales that leave the largest out and round the rest finer were
    tried and give the same alphas."""
    largest = np.abs(kernel).max(axis=_inside(kernel))
    scale = np.where(largest > 0, largest / LARGEST, 1).astype(np.float32)
    return np.clip(np.rint(kernel / scale), -LARGEST, LARGEST).astype(np.int8), scale


def bears_8_bits(kernel: NDArray[np.float32]) -> bool:
    """Whether most output channels keep their smaller weights in 8 bits, of a kernel that does not see the picture
    itself. The factors of channels do not matter."""
    if kernel.shape[-2] <= PICTURE_CHANNELS:
        return False
    largest = np.abs(kernel).max(axis=_inside(kernel))
    typical = np.sqrt(np.square(kernel, dtype=np.float64).mean(axis=_inside(kernel)))
    return bool(np.median(largest / np.where(typical > 0, typical, 1)) < TOO_LOPSIDED)


def _inside(kernel: NDArray[np.float32]) -> tuple[int, ...]:
    """The axes of one output channel."""
    return tuple(range(kernel.ndim - 1))
