"""A soft shadow that a cut-out person casts on what is laid under him.

In: alpha uint8 `[H,W]`. Out: the shadow's opacity uint8 `[H,W]`, to be laid under the cut-out (`cutout.lay_under`).
Knows no colours, no bytes and no HTTP.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from app.picture.layers import reduced
from model.transforms import Alpha8, stretch

# As shares of the photo's longer side: standard deviation of its blur, and how far it falls down.
SOFTNESS: Final = 0.02
FALL: Final = 0.015
SHADOW_STRIP: Final = (
    32  # times as long as wide: what is longer is a strip, and its length says nothing of its softness
)
GRID: Final = 256  # pixels of the longer side at which it is drawn, at the most: it has no detail


def cast_shadow(alpha: Alpha8, strength: int) -> Alpha8:
    """Opacity of the shadow of everything in `alpha`; `strength` 0..100 is its opacity in per cent where it is
    darkest. At the photo's edges it goes on as it is: a person cut off by the frame does not end there."""
    height, width = alpha.shape
    small = reduced(alpha, min(-(-max(height, width) // GRID), height, width))
    longer = min(max(small.shape), SHADOW_STRIP * min(small.shape))
    fallen = cv2.copyMakeBorder(small, round(FALL * longer), 0, 0, 0, cv2.BORDER_REPLICATE)[: small.shape[0]]
    soft = cv2.GaussianBlur(fallen, (0, 0), SOFTNESS * longer, borderType=cv2.BORDER_REPLICATE)
    return stretch(np.asarray(cv2.convertScaleAbs(soft, alpha=strength / 100), np.uint8), height, width)
