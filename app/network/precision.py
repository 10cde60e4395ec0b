"""A network that can be had in several precisions comes in; the one that suits this machine goes out.

8 or 16 bits are taken where the machine multiplies them and the network's alphas stay close to float32's. Knows no
library that runs networks.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from app.network.freed_memory import give_memory_back
from app.network.running import Alphas, Batch, LoadError, Predict

Precision = Literal["auto", "float32", "bfloat16", "float16", "int8"]
Narrow = Literal["bfloat16", "float16", "int8"]
EIGHT_BITS: Final = "int8"

TOLERANCE: Final = 4 / 255
"""How far a probe's alphas may be from float32's on average: four of the 256 steps of the answer. What overflows, has
another network's ranges or loses its small weights is five times as far off and more. On photos alphas are closer in
8 bits (the export says how close) than on a drawing, of which some networks are not sure: the official lite one's are
0.002 off and 0.008. Single pixels in the middle of a steep edge move further in any precision below float32."""

NEEDS: Final[Mapping[Precision, str]] = {
    "bfloat16": "a CPU with AVX512-BF16 or AMX or a GPU of compute capability 8.0",
    "float16": "a GPU of compute capability 7.0",
    "int8": "OpenVINO, a CPU with VNNI or AMX, and a model that was exported with --calibrate",
}

_log = logging.getLogger(__name__)


class Precisions(Protocol):
    """A network that has not been made ready yet."""

    def exactly(self) -> Predict:
        """In float32, soon to be had rather than quick."""

    def in_float32(self) -> Predict:
        """To serve."""

    def narrowed(self, kind: Narrow, probe: Batch) -> Predict:
        """To serve; it may be tried with `probe`."""


def check(asked: Precision, possible: Sequence[Narrow]) -> None:
    """Raise LoadError for a precision that is not among those that the machine multiplies."""
    if asked not in ("auto", "float32", *possible):
        raise LoadError(
            f"MATTE_PRECISION={asked} is not to be had here: it needs {NEEDS[asked]}. Set it to auto or float32."
        )


def choose(
    network: Precisions, size: int, possible: Sequence[Narrow], asked: Precision
) -> tuple[Predict, str]:
    """The network as a function, and the precision it works in: the first of the `possible` that the alphas bear, or
    what is asked for.

    Raises LoadError if asked for a coarser one than the alphas bear.
    """
    kinds = [kind for kind in possible if asked in ("auto", kind)]
    if asked == "float32" or not kinds:
        return network.in_float32(), "float32"
    probe = probe_picture(size)
    exact = network.exactly()(probe)
    give_memory_back()
    for kind in kinds:
        quick = network.narrowed(kind, probe)
        problem = _problem(kind, quick(probe), exact)
        give_memory_back()
        if problem is None:
            return quick, kind
        if asked != "auto":
            raise LoadError(f"{problem}. Set MATTE_PRECISION=auto or float32.")
        del quick
        _log.warning("%s: trying the next precision", problem)
    return network.in_float32(), "float32"


def _problem(kind: Narrow, alphas: Alphas, exact: Alphas) -> str | None:
    """What is wrong with a probe's alphas in `kind`; None where they are close enough. What overflowed is not a
    number, and is not."""
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
