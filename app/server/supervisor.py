"""Run several worker processes behind one port, and the inference processes; restart those that end. Knows no
requests.

Each worker has its share of the cores. All accept connections from one socket, each once its models are loaded: by
the inference processes, one for each GPU or one on a CPU host, which the workers reach at Unix sockets in a folder
that only this user can enter. The sockets stay open here, so that workers can connect while a process is being
replaced. A process that ends by itself is replaced; SIGTERM or SIGINT ends all of them: the workers after they have
finished the requests that they accepted, the inference processes after the last worker.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import re
import shutil
import signal
import socket
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
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
    """The number of a worker among `count`, from 0, the descriptor of the shared socket, and the sockets of the
    inference processes."""

    number: int
    count: int
    listener: int
    inference: tuple[Path, ...]

    @classmethod
    def parse(cls, text: str) -> WorkerProcess:
        """Parse the command line's argument. Raises ValueError."""
        match = re.fullmatch(r"(\d+)/(\d+):(\d+):(\d+):(.+)", text)
        if match is None:
            raise ValueError(f"not NUMBER/COUNT:DESCRIPTOR:PROCESSES:FOLDER: {text!r}")
        number, count, listener, processes = map(int, match.groups()[:4])
        return cls(number, count, listener, socket_paths(Path(match[5]), processes))

    def __str__(self) -> str:
        processes, folder = len(self.inference), self.inference[0].parent
        return f"{self.number}/{self.count}:{self.listener}:{processes}:{folder}"

    def settle(self) -> None:
        """Bind this process to its cores, and end it when its parent ends."""
        end_with_parent()
        cores = share_of(sorted(os.sched_getaffinity(0)), self.number, self.count)
        if cores:
            os.sched_setaffinity(0, cores)


@dataclass(frozen=True, slots=True)
class InferenceProcess:
    """The number of an inference process among `count`, from 0, how many workers it serves, and the descriptor of its
    socket. The number is also that of its GPU."""

    number: int
    count: int
    workers: int
    listener: int

    @classmethod
    def parse(cls, text: str) -> InferenceProcess:
        """Parse the command line's argument. Raises ValueError."""
        match = re.fullmatch(r"(\d+)/(\d+):(\d+):(\d+)", text)
        if match is None:
            raise ValueError(f"not NUMBER/COUNT:WORKERS:DESCRIPTOR: {text!r}")
        return cls(*map(int, match.groups()))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}:{self.workers}:{self.listener}"

    @property
    def name(self) -> str:
        """In logs and metrics."""
        return "inference" if self.count == 1 else f"inference-{self.number}"


def end_with_parent() -> None:
    """End this process by SIGTERM when its parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def socket_paths(folder: Path, count: int) -> tuple[Path, ...]:
    """Where `count` inference processes are reached."""
    return tuple(folder / f"inference-{number}" for number in range(count))


def remove_socket(path: Path) -> None:
    """Remove a socket's file, and with the last one its folder."""
    path.unlink(missing_ok=True)
    with suppress(OSError):
        if not any(each.is_socket() for each in path.parent.iterdir()):
            shutil.rmtree(path.parent)


def share_of(cores: list[int], number: int, count: int) -> list[int]:
    """The cores of one of `count` workers: contiguous, and equally many for all, give or take one. Empty if there are
    fewer cores than workers: then all workers share all cores."""
    if len(cores) < count:
        return []
    return cores[len(cores) * number // count : len(cores) * (number + 1) // count]


def count_gpus(devices: Path = Path("/dev")) -> int:
    """The NVIDIA GPUs that this process may open; a container has only those that were passed to it."""
    return sum(bool(re.fullmatch(r"nvidia\d+", path.name)) for path in devices.glob("nvidia*"))


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: `command` starts each process, with an argument that says which it is. A process has `drain_s`
    seconds to end before it is killed."""

    workers: int
    inference: int
    command: Sequence[str]
    drain_s: float


def supervise(plan: Plan, listener: socket.socket) -> int:
    """Run the processes until a signal arrives; return the exit status. Raises OSError where the inference processes'
    sockets cannot be made."""
    with tempfile.TemporaryDirectory(prefix="u2matte-") as folder, ExitStack() as sockets:
        paths = socket_paths(Path(folder), plan.inference)
        inference = [sockets.enter_context(_listen(path)) for path in paths]
        return asyncio.run(Supervisor(plan, listener, inference, paths).run())


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


class Supervisor:
    """The processes of one port: workers at `listener`, inference processes at the sockets `inference`, which the
    workers find at `paths`."""

    def __init__(
        self, plan: Plan, listener: socket.socket, inference: Sequence[socket.socket], paths: tuple[Path, ...]
    ) -> None:
        self._plan = plan
        self._listener = listener
        self._inference = inference
        self._paths = paths
        self._stopping = asyncio.Event()
        self._children: dict[str, asyncio.subprocess.Process] = {}

    async def run(self) -> int:
        """Return 0 if all processes ended normally after a signal, else 1."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        # The inference processes first: their models take longest to load.
        statuses = await asyncio.gather(
            *(self._keep_inference(number, each) for number, each in enumerate(self._inference)),
            *(self._keep_worker(number) for number in range(self._plan.workers)),
        )
        # A process that is still starting ends by the signal.
        return int(not {0, -signal.SIGTERM}.issuperset(statuses))

    async def _keep_inference(self, number: int, listener: socket.socket) -> int:
        process = InferenceProcess(number, self._plan.inference, self._plan.workers, listener.fileno())
        name = process.name.replace("inference", "inference process")
        return await self._keep(name, ["--inference", str(process)], listener)

    async def _keep_worker(self, number: int) -> int:
        worker = WorkerProcess(number, self._plan.workers, self._listener.fileno(), self._paths)
        return await self._keep(f"worker {number}", ["--member", str(worker)], self._listener)

    async def _keep(self, name: str, arguments: Sequence[str], listener: socket.socket) -> int:
        """Run a process, and restart it whenever it ends by itself."""
        loop = asyncio.get_running_loop()
        pause_s, first = FIRST_PAUSE_S, True
        while True:
            began = loop.time()
            status = await self._run(name, arguments, listener)
            if self._stopping.is_set():
                return status
            if status == BAD_SETTINGS and first:  # After a first success the settings may become valid again.
                self._stop()
                return status
            first = False
            if loop.time() - began > STABLE_AFTER_S:
                pause_s = FIRST_PAUSE_S
            _log.error("%s ended with status %d, the next one comes in %g s", name, status, pause_s)
            if await self._stopped_within(pause_s):
                return 0  # It had ended before the signal, and the log says how.
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _run(self, name: str, arguments: Sequence[str], listener: socket.socket) -> int:
        child = await asyncio.create_subprocess_exec(
            *(*self._plan.command, *arguments),
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C reaches this process only; it stops the others.
        )
        self._children[name] = child
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
            asyncio.get_running_loop().call_later(self._plan.drain_s, self._signal, signal.SIGKILL)
        self._stopping.set()
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        for child in self._children.values():
            if child.returncode is None:
                child.send_signal(number)
