"""What a service holds when it has nothing to do: memory, files, threads, and what its own gauges say.

In: its process and address. Out: a `Footprint`, and the slope of many. Reads Linux's /proc. asyncio's tasks can't be
seen from outside; the gauges stand for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import numpy as np

from tests.bench.load import resident

GAUGES: Final = ("matte_inflight", "matte_queue_depth")
PATIENCE_S: Final = 30.0  # for a service to come to rest
PAUSE_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Footprint:
    """After so many answers: resident bytes, open file descriptors, threads, and the sum of the gauges."""

    answers: int
    memory: int
    files: int
    threads: int
    busy: float

    def holds_more_than(self, other: Footprint) -> bool:
        """Of what can be counted; memory has a slope."""
        return self.busy > 0 or self.files > other.files or self.threads > other.threads

    def __str__(self) -> str:
        return (
            f"{self.answers:6d} answers   {self.memory / 1e6:6.0f} MB   {self.files:3d} files   "
            f"{self.threads:3d} threads   gauges {self.busy:g}"
        )


async def at_rest(pid: int, address: str, answers: int, first: Footprint | None) -> Footprint:
    """When all is quiet, which is when no more is held than at `first`; or as it is when patience ends."""
    ends = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        found = await _look(pid, address, answers)
        quiet = found.busy == 0 and (first is None or not found.holds_more_than(first))
        if quiet or asyncio.get_running_loop().time() > ends:
            return found


def slope(points: Sequence[Footprint]) -> tuple[float, float]:
    """Megabytes of resident memory per 1,000 answers by least squares, and its standard error. At least 3 points."""
    thousands = np.array([point.answers / 1000 for point in points])
    megabytes = np.array([point.memory / 1e6 for point in points])
    grows, level = np.polyfit(thousands, megabytes, 1)
    residual = megabytes - (grows * thousands + level)
    spread = ((thousands - thousands.mean()) ** 2).sum()
    return float(grows), float(np.sqrt((residual**2).sum() / (len(points) - 2) / spread))


async def gauges(address: str) -> float:
    """The sum of GAUGES; 0 when nothing is in flight."""
    async with httpx.AsyncClient(headers={"Connection": "close"}, timeout=PATIENCE_S) as client:
        page = (await client.get(f"{address}/metrics")).text
    samples = (line.rpartition(" ") for line in page.splitlines() if not line.startswith("#"))
    return sum(float(value) for name, _, value in samples if name in GAUGES)


async def _look(pid: int, address: str, answers: int) -> Footprint:
    busy = await gauges(address)
    await asyncio.sleep(PAUSE_S)  # until the connection that asked for them is closed on the other side, too
    process = Path(f"/proc/{pid}")
    files, threads = len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))
    return Footprint(answers, resident(pid), files, threads, busy)
