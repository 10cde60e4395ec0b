"""Choose the precision in which a network runs on this machine.

8 or 16 bits are chosen if the machine is faster in them and the network's alphas stay close to float32's.
Knows no library that runs networks.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from app.inference.backends.base import Alphas, Batch, LoadError, Predict, give_memory_back

Precision = Literal["auto", "float32", "bfloat16", "float16", "int8"]
Narrow = Literal["bfloat16", "float16", "int8"]
EIGHT_BITS: Final = "int8"
FLOAT32: Final = "float32"

TOLERANCE: Final = 2 / 255
"""Largest mean difference of a probe's alphas from float32's: two of the 256 steps of the answer. On photos 8 bits
differ by a quarter of that (the export reports how much), 16 bits by less. Overflow, or another network's ranges,
exceeds it by far. Single pixels on a steep edge differ more in any precision below float32."""

NEEDS: Final[Mapping[Precision, str]] = {
    "bfloat16": "a CPU with AVX512-BF16 or AMX or a GPU of compute capability 8.0",
    "float16": "a GPU of compute capability 7.0",
    "int8": "OpenVINO, an x86 CPU with AVX2, and a model that was exported with --calibrate",
}

_log = logging.getLogger(__name__)


class PrecisionVariants(Protocol):
    """A network that is available in several precisions."""

    def reference(self) -> Predict:
        """In float32, quick to build rather than quick to run."""

    def load(self, precision: str) -> Predict:
        """In "float32" or a narrower type, to serve."""


def check(requested: Precision, possible: Sequence[Narrow]) -> None:
    """Raise LoadError for a precision that the machine does not multiply natively."""
    if requested not in ("auto", "float32", *possible):
        raise LoadError(
            f"MATTE_PRECISION={requested} is not available here: it needs {NEEDS[requested]}. "
            "Set it to auto or float32."
        )


def choose(
    network: PrecisionVariants, size: int, possible: Sequence[Narrow], requested: Precision
) -> tuple[Predict, str]:
    """Return the network as a function, and its precision: the first of the `possible` with alphas close to
    float32's, or the requested one.

    Raises LoadError if the requested precision is too coarse for the network.
    """
    kinds = [kind for kind in possible if requested in ("auto", kind)]
    if requested == FLOAT32 or not kinds:
        return network.load(FLOAT32), FLOAT32
    probe = probe_picture(size)
    exact = network.reference()(probe)
    give_memory_back()
    for kind in kinds:
        quick = network.load(kind)
        problem = _problem(kind, quick(probe), exact)
        give_memory_back()
        if problem is None:
            return quick, kind
        if requested != "auto":
            raise LoadError(f"{problem}. Set MATTE_PRECISION=auto or float32.")
        del quick
        _log.warning("%s: trying the next precision", problem)
    return network.load(FLOAT32), FLOAT32


def _problem(kind: Narrow, alphas: Alphas, exact: Alphas) -> str | None:
    """What is wrong with a probe's alphas in `kind`; None if they are close enough. Overflow gives NaN, which is
    not."""
    found = float(np.abs(alphas - exact).mean())
    if found <= TOLERANCE:
        return None
    return f"alphas in {kind} are {found:.4f} off float32's on average, the limit is {TOLERANCE:.4f}"


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
