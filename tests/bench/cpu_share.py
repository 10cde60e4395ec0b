"""Whose CPU time it was during a measurement: the server's, this program's, or that of others, who spoil it.

In: the process id of a server that is one process, and what to do meanwhile. Out: its result and a `CpuUse`.
Reads Linux's /proc.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

TICKS: Final = os.sysconf("SC_CLK_TCK")  # of /proc, per second
_IDLE: Final = slice(3, 5)  # idle and waiting for a disk, among the columns of /proc/stat
_ALL: Final = slice(0, 8)  # without guests, whose time is in the first two already


@dataclass(frozen=True, slots=True)
class CpuUse:
    """The server's CPU time in seconds, and the share 0..1 of all cores' time that neither it nor its client took."""

    server_s: float
    others: float


def watched(pid: int, work: Callable[[], T]) -> tuple[T, CpuUse]:
    """Do the work, in this process, and see what the CPUs did meanwhile."""
    before, own, server = _machine(), time.process_time(), cpu_seconds(pid)
    result = work()
    after = _machine()
    spent = cpu_seconds(pid) - server
    whole, busy = (end - start for start, end in zip(before, after, strict=True))
    others = busy - spent - (time.process_time() - own)
    return result, CpuUse(spent, max(0.0, others / whole))


def _machine() -> tuple[float, float]:
    """Seconds of all cores since the start, and of these the busy ones; stolen by a hypervisor counts as busy."""
    with Path("/proc/stat").open() as file:
        columns = [int(column) / TICKS for column in file.readline().split()[1:]]
    return sum(columns[_ALL]), sum(columns[_ALL]) - sum(columns[_IDLE])


def cpu_seconds(pid: int) -> float:
    """CPU seconds of all its threads."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / TICKS
