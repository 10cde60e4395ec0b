"""Run several worker processes behind one port, and restart those that end. Knows no requests.

Each worker has its share of the cores or a GPU of its own, and its own network, queue and metrics. All accept
connections from one socket, each once its model is loaded. A worker that ends by itself is replaced; SIGTERM or
SIGINT ends all of them after they have finished the requests that they accepted.
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
STABLE_AFTER_S: Final = 60.0  # A worker that ran this long did not fail at its start.
BAD_SETTINGS: Final = 1  # exit status of a worker whose replacement would fail, too

_PR_SET_PDEATHSIG: Final = 1
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """The number of a worker among `count`, from 0, and the descriptor of the shared socket."""

    number: int
    count: int
    listener: int

    @classmethod
    def parse(cls, text: str) -> WorkerProcess:
        """Parse the command line's argument. Raises ValueError."""
        match = re.fullmatch(r"(\d+)/(\d+):(\d+)", text)
        if match is None:
            raise ValueError(f"not NUMBER/COUNT:DESCRIPTOR: {text!r}")
        return cls(*map(int, match.groups()))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}:{self.listener}"

    def settle(self) -> None:
        """Bind this process to its cores, and end it when its parent ends."""
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        cores = share_of(sorted(os.sched_getaffinity(0)), self.number, self.count)
        if cores:
            os.sched_setaffinity(0, cores)


def share_of(cores: list[int], number: int, count: int) -> list[int]:
    """The cores of one of `count` workers: contiguous, and equally many for all, give or take one. Empty if there are
    fewer cores than workers: then all workers share all cores."""
    if len(cores) < count:
        return []
    return cores[len(cores) * number // count : len(cores) * (number + 1) // count]


def count_gpus(devices: Path = Path("/dev")) -> int:
    """The NVIDIA GPUs that this process may open; a container has only those that were passed to it."""
    return sum(bool(re.fullmatch(r"nvidia\d+", path.name)) for path in devices.glob("nvidia*"))


def supervise(count: int, listener: socket.socket, arguments: list[str], drain_s: float) -> int:
    """Run `python -m app serve` with `arguments` as `count` workers until a signal arrives; return the exit
    status."""
    return asyncio.run(Supervisor(count, listener, arguments, drain_s).run())


class Supervisor:
    """The worker processes of one port."""

    def __init__(self, count: int, listener: socket.socket, arguments: list[str], drain_s: float) -> None:
        self._count = count
        self._listener = listener
        self._arguments = arguments
        self._drain_s = drain_s
        self._stopping = asyncio.Event()
        self._children: dict[int, asyncio.subprocess.Process] = {}

    async def run(self) -> int:
        """Return 0 if all workers ended normally after a signal, else 1."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        statuses = await asyncio.gather(*(self._keep(number) for number in range(self._count)))
        # A worker that is still starting ends by the signal.
        return int(not {0, -signal.SIGTERM}.issuperset(statuses))

    async def _keep(self, number: int) -> int:
        """Run a worker, and restart it whenever it ends by itself."""
        loop = asyncio.get_running_loop()
        pause_s, first = FIRST_PAUSE_S, True
        while True:
            began = loop.time()
            status = await self._run_worker(number)
            if self._stopping.is_set():
                return status
            if status == BAD_SETTINGS and first:  # After a first success the settings may become valid again.
                self._stop()
                return status
            first = False
            if loop.time() - began > STABLE_AFTER_S:
                pause_s = FIRST_PAUSE_S
            _log.error("worker %d ended with status %d, the next one comes in %g s", number, status, pause_s)
            if await self._stopped_within(pause_s):
                return status
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _run_worker(self, number: int) -> int:
        descriptor = self._listener.fileno()
        worker = WorkerProcess(number, self._count, descriptor)
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app", "serve", *self._arguments, "--member", str(worker)),
            pass_fds=[descriptor],
            start_new_session=True,  # Ctrl-C reaches this process only; it stops the workers.
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
