"""Photos and mattes as a person looks at them.

In: image uint8 `[H,W,3]` RGB and alpha float32 `[H,W]` in 0..1. Out: uint8 `[H,W,3]` RGB.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

GREEN: Final = (0, 177, 64)


def on_green(image: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The photo through its matte over green."""
    share = alpha[:, :, None]
    return np.rint(image * share + np.array(GREEN) * (1 - share)).astype(np.uint8)


def as_grey(alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The matte itself: black 0, white 1."""
    return np.repeat(np.rint(alpha * 255).astype(np.uint8)[:, :, None], 3, axis=2)
