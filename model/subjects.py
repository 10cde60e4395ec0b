"""The people in a photo, told apart by the gaps between them, and the main one of them alone.

In: a small alpha of the whole photo, uint8 `[h,w]` of `map_size`. Out: how many subjects are in it, and how much of
each pixel's alpha the main one keeps. A subject is a connected region of the matte: one person, or several who touch.
Who is who within a region is not known. Knows nothing of files, of the network or of HTTP.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from model.transforms import Alpha, Alpha8

AREA: Final = 192 * 192  # pixels of the map, whatever the photo's shape: enough to tell gaps of BRIDGED
# Of 255: alpha from here on is part of a region. Haze between two people is mostly below, a doubtful limb above.
INSIDE: Final = 96
# Shares of the photo's shorter side. Regions with a gap up to BRIDGED between them are one: a belt or a strap that
# the network left out does not cut a person in two. What is too small for a subject goes with one as far as NEAR.
BRIDGED: Final = 0.02
NEAR: Final = 0.06
# Of the largest region's mass: what has less is no subject, but a speck or a part of one.
SUBJECT_SHARE: Final = 0.05
TIE: Final = 0.95  # of the largest region's mass: from here on a region is as large as the largest

Labels = NDArray[np.uint16]


def map_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of the small alpha for a photo of `height` x `width`: of the photo's shape, AREA in all."""
    scale = math.sqrt(AREA / (height * width))
    high, wide = (min(AREA, max(1, round(side * scale))) for side in (height, width))
    return high, wide


@dataclass(frozen=True, slots=True)
class Subjects:
    """The regions of an alpha. `labels` uint16 `[h,w]`: the region of each pixel, 0 is none. `masses`: the alpha in
    each region, summed. `centres`: (x, y) of each, in pixels. Both count from region 0, which is none."""

    labels: Labels = field(repr=False)
    masses: NDArray[np.float64]
    centres: NDArray[np.float64]

    @property
    def count(self) -> int:
        """How many of the regions are subjects, by SUBJECT_SHARE."""
        return int(np.count_nonzero(self._are_subjects))

    @property
    def main(self) -> int:
        """The label of the largest subject by mass; of those within TIE of it the nearest to the photo's centre."""
        as_large = np.flatnonzero(self.masses >= TIE * self.masses.max())
        height, width = self.labels.shape
        away = self.centres[as_large] - ((width - 1) / 2, (height - 1) / 2)
        return int(as_large[np.argmin(np.hypot(away[:, 0], away[:, 1]))])

    def share_of_main(self) -> Alpha8 | None:
        """How much of its alpha each pixel keeps if the main subject stays alone, uint8 `[h,w]`, 255 is all of it.
        None if there is nothing else. It goes from all to nothing midway between what is kept and what is not, so
        that both keep or lose their soft edges as a whole."""
        kept = self._with_main()
        others = ~kept
        kept[0] = others[0] = False
        if not others.any():
            return None
        nearer = _distance(others[self.labels]) - _distance(kept[self.labels])
        # No two regions are nearer to each other than BRIDGED, so that all of this lies between them.
        share = nearer * np.float32(127.5 / max(1, _reach(self.labels.shape))) + np.float32(127.5)
        return np.asarray(np.rint(np.clip(share, 0, 255)), np.uint8)

    @property
    def _are_subjects(self) -> NDArray[np.bool_]:
        """Of each region. Region 0 has no mass, and is never one."""
        return np.asarray((self.masses > 0) & (self.masses >= SUBJECT_SHARE * self.masses.max()))

    def _with_main(self) -> NDArray[np.bool_]:
        """Of each region, whether it stays with the main subject: itself, and what is no subject, NEAR it and not
        nearer to another."""
        others = self._are_subjects
        others[self.main] = False
        parts = ~self._are_subjects
        if parts[1:].any():
            to_main = self._gaps(self.labels == self.main)
            parts &= to_main <= NEAR * min(self.labels.shape)
            if others.any():
                parts &= to_main <= self._gaps(others[self.labels])
        parts[self.main] = True
        return parts

    def _gaps(self, place: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Of each region how many pixels lie between it and `place`."""
        gaps = np.full(len(self.masses), np.inf, np.float32)
        np.minimum.at(gaps, self.labels.ravel(), _distance(place).ravel() - 1)
        return gaps


def find_subjects(alpha: Alpha8) -> Subjects:
    """The regions of a photo's `alpha` uint8 `[h,w]` of `map_size`, gaps up to BRIDGED closed."""
    inside = cv2.threshold(alpha, INSIDE - 1, 1, cv2.THRESH_BINARY)[1]
    joined = inside
    if reach := _reach(alpha.shape):
        side = 2 * reach + 1
        joined = cv2.dilate(inside, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    number, enlarged, _, centres = cv2.connectedComponentsWithStats(joined, connectivity=8, ltype=cv2.CV_16U)
    labels = np.multiply(enlarged, inside, dtype=np.uint16)
    masses = np.bincount(labels.ravel(), alpha.ravel(), number).astype(np.float64, copy=False)
    masses[0] = 0
    return Subjects(labels, masses, np.asarray(centres, np.float64))


def _reach(size: tuple[int, ...]) -> int:
    """By how many pixels a region is enlarged to each side, so that two meet across a gap of BRIDGED."""
    return round(BRIDGED / 2 * min(size))


def _distance(inside: NDArray[np.bool_]) -> Alpha:
    """Of each pixel to the nearest one that is inside, float32."""
    outside = np.asarray(~inside).view(np.uint8)
    return np.asarray(cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_5), np.float32)
