"""One port and a number come in, so many processes that serve it go out, and are kept alive. Knows no request.

Each process (a worker) has its share of the cores or a GPU of its own, and its own network, queue and metrics. All
take connections from the one socket, but none before its model is loaded. A worker that ends by itself is replaced;
SIGTERM or SIGINT ends all of them, after they have done what they had accepted.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import re
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0
STEADY_S: Final = 60.0  # A worker that has lived so long has not failed at its start.
BAD_SETTINGS: Final = 1  # The status of a worker that another one would end with, too.

_PR_SET_PDEATHSIG: Final = 1
_log: Final = logging.getLogger("app.crew")


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """Which of `count` workers a process is, from 0, and the descriptor of the socket that they share."""

    number: int
    count: int
    listener: int

    @classmethod
    def parse(cls, text: str) -> WorkerProcess:
        """From `arguments`. Raises ValueError."""
        match = re.fullmatch(r"(\d+)/(\d+):(\d+)", text)
        if match is None:
            raise ValueError(f"not NUMBER/COUNT:DESCRIPTOR: {text!r}")
        return cls(*map(int, match.groups()))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}:{self.listener}"

    def settle(self) -> None:
        """Take this worker's cores, and end when the process that started it does."""
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        cores = share_of(sorted(os.sched_getaffinity(0)), self.number, self.count)
        if cores:
            os.sched_setaffinity(0, cores)


def share_of(cores: list[int], number: int, count: int) -> list[int]:
    """The cores of one worker of `count`: neighbours, and as many as the others have, give or take one. None where
    there are fewer cores than workers: then all share all."""
    if len(cores) < count:
        return []
    return cores[len(cores) * number // count : len(cores) * (number + 1) // count]


def count_gpus(devices: Path = Path("/dev")) -> int:
    """NVIDIA's GPUs that this process may open; a container has only those that were passed to it."""
    return sum(bool(re.fullmatch(r"nvidia\d+", path.name)) for path in devices.glob("nvidia*"))


def keep(count: int, listener: socket.socket, arguments: list[str], drain_s: float) -> int:
    """Run `python -m app serve` with `arguments` as `count` workers until a signal comes; gives the exit status."""
    return asyncio.run(Supervisor(count, listener, arguments, drain_s).run())


class Supervisor:
    """The workers of one port."""

    def __init__(self, count: int, listener: socket.socket, arguments: list[str], drain_s: float) -> None:
        self._count = count
        self._listener = listener
        self._arguments = arguments
        self._drain_s = drain_s
        self._stopping = asyncio.Event()
        self._children: dict[int, asyncio.subprocess.Process] = {}

    async def run(self) -> int:
        """0 if all ended well after a signal, else 1."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        statuses = await asyncio.gather(*(self._keep(number) for number in range(self._count)))
        # One that was still being started knows no better way to end.
        return int(not {0, -signal.SIGTERM}.issuperset(statuses))

    async def _keep(self, number: int) -> int:
        """One worker, and the next one when it ends by itself."""
        loop = asyncio.get_running_loop()
        pause_s, first = FIRST_PAUSE_S, True
        while True:
            began = loop.time()
            status = await self._one(number)
            if self._stopping.is_set():
                return status
            if status == BAD_SETTINGS and first:  # Later, what was good once may be good again.
                self._stop()
                return status
            first = False
            if loop.time() - began > STEADY_S:
                pause_s = FIRST_PAUSE_S
            _log.error("worker %d ended with status %d, the next one comes in %g s", number, status, pause_s)
            if await self._stopped_within(pause_s):
                return status
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _one(self, number: int) -> int:
        descriptor = self._listener.fileno()
        member = WorkerProcess(number, self._count, descriptor)
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app", "serve", *self._arguments, "--member", str(member)),
            pass_fds=[descriptor],
            start_new_session=True,  # Ctrl-C is for this process alone; it tells the others.
        )
        self._children[number] = child
        if self._stopping.is_set():
            child.terminate()
        return await child.wait()

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._stopping.wait()
        except TimeoutError:
            return False

    def _stop(self) -> None:
        if not self._stopping.is_set():
            asyncio.get_running_loop().call_later(self._drain_s, self._signal, signal.SIGKILL)
        self._stopping.set()
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        for child in self._children.values():
            if child.returncode is None:
                child.send_signal(number)
