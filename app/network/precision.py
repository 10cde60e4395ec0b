"""A network that can be had in several precisions comes in; the one that suits this machine goes out.

16 bits are taken where the machine multiplies them and the network's alphas stay close to float32's. Knows no library
that runs networks.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from app.network.freed_memory import give_memory_back
from app.network.running import Batch, LoadError, Predict

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Narrow = Literal["bfloat16", "float16"]

TOLERANCE: Final = 2 / 255
"""How far an alpha may be from float32's: two of the 256 steps of the answer, which no eye sees."""
PERCENTILE: Final = 99.9
"""The share of the probe's pixels, in per cent, that must keep to it. At a steep border a pixel or two may differ by
more in the middle of the step, in any precision below float32."""

_log = logging.getLogger(__name__)


class Precisions(Protocol):
    """A network that has not been made ready yet."""

    def exactly(self) -> Predict:
        """In float32, soon to be had rather than quick."""

    def in_float32(self) -> Predict:
        """To serve."""

    def in_16_bits(self, kind: Narrow, probe: Batch) -> Predict:
        """To serve; it may be tried with `probe`."""


def check(asked: Precision, possible: Sequence[Narrow]) -> None:
    """Raise LoadError for a precision that is not among those that the machine multiplies."""
    if asked not in ("auto", "float32", *possible):
        raise LoadError(
            f"MATTE_PRECISION={asked} is not for this machine: bfloat16 needs a CPU with AVX512-BF16 or AMX or a GPU "
            "of compute capability 8.0, float16 a GPU of 7.0. Set it to auto or float32."
        )


def choose(
    network: Precisions, size: int, possible: Sequence[Narrow], asked: Precision
) -> tuple[Predict, str]:
    """The network as a function, and the precision it works in: the first of the `possible`, or what is asked for.

    Raises LoadError if asked for a coarser one than the alphas bear.
    """
    if asked == "float32" or not possible:
        return network.in_float32(), "float32"
    kind = possible[0] if asked == "auto" else asked
    probe = probe_picture(size)
    exact = network.exactly()(probe)
    give_memory_back()
    quick = network.in_16_bits(kind, probe)
    difference = float(np.percentile(np.abs(quick(probe) - exact), PERCENTILE))
    give_memory_back()
    if difference <= TOLERANCE:  # What overflowed is not a number, and differs.
        return quick, kind
    problem = f"an alpha in {kind} is {difference:.4f} off float32's, the limit is {TOLERANCE:.4f}"
    if asked != "auto":
        raise LoadError(f"{problem}. Set MATTE_PRECISION=auto or float32.")
    _log.warning("%s: staying with float32", problem)
    return network.in_float32(), "float32"


def probe_picture(size: int) -> Batch:
    """A drawn head and shoulders before a gradient, uint8 `[1,size,size,3]`: flat parts, edges, texture."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    head = (x - 0.5) ** 2 / 0.03 + (y - 0.35) ** 2 / 0.05 < 1
    shoulders = (x - 0.5) ** 2 / 0.12 + (y - 1.0) ** 2 / 0.16 < 1
    picture: NDArray[np.float32] = np.stack((60 + 90 * y, 110 + 60 * x, 170 - 70 * y), axis=-1)
    picture[shoulders] = (40, 50, 90)
    picture[head] = (215, 170, 140)
    texture = 12 * np.sin(90 * x) * np.sin(70 * y)
    probe: Batch = np.clip(picture + texture[..., None], 0, 255).astype(np.uint8)[None]
    return probe
