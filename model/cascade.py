"""One network at several input sizes, one after the other, until it is sure: used by the service and the evaluation.

U²-Net keeps what a picture shows at the scale at which it sees it: small, a face that fills the picture comes out
whole; large, the people of a group do. Which of the two a picture needs, the network's own confidence tells well
enough (`model.confidence`). This is early exit (Teerapittayanon et al., "BranchyNet", ICPR 2016) over resolutions
(Yang et al., "Resolution Adaptive Networks", CVPR 2020), only that all sizes share one set of weights.

In: squares uint8 `[N,S,S,3]` and the network. Out: alphas float32 `[N,S,S]`. Knows no runtime.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from model.confidence import confidence
from model.contract import Manifest
from model.transforms import Alpha, Image, stretch

# uint8 [N,T,T,3] -> float32 [N,T,T]
Network = Callable[[Image], Alpha]


@dataclass(frozen=True, slots=True)
class Stage:
    """An input size in pixels, and the confidence from which on its alpha is taken as it is."""

    size: int
    confident: float


def stages(manifest: Manifest) -> tuple[Stage, ...]:
    """The stages of a model, the smallest first; one that is always taken where it has no cascade."""
    found = (Stage(int(size), confident) for size, confident in manifest.cascade.items())
    return tuple(sorted(found, key=lambda each: each.size)) or (Stage(manifest.input_size, 0.0),)


def run_cascade(squares: Image, network: Network, manifest: Manifest) -> Alpha:
    """The alpha of each square by the stage that is most confident of it, of those that were run.

    `network` takes pictures of the size of each of the `stages`, and gets the squares that no stage before was
    confident of. Numbers that are not finite are passed on.
    """
    first, *later = stages(manifest)
    if not later:
        return network(squares)
    alphas: list[Alpha] = [np.empty(0, np.float32)] * len(squares)
    best = np.full(len(squares), -np.inf)
    undecided = np.arange(len(squares))
    for stage in (first, *later):
        seen = np.stack([stretch(squares[number], stage.size, stage.size) for number in undecided])
        for number, alpha in zip(undecided, network(seen), strict=True):
            sure = confidence(alpha, manifest.sharpness)
            if not sure <= best[number]:
                alphas[number], best[number] = alpha, sure
        undecided = undecided[best[undecided] < stage.confident]
        if not len(undecided):
            break
    side = squares.shape[1]
    return np.stack([stretch(alpha, side, side) for alpha in alphas])
