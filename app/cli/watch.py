"""Folders come in, the photos that appear in them go out, once they are whole. Knows no pixels.

By looking again and again, since file systems that are shared over a network or with a container tell nobody what
another machine has written.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Final

from rich.console import Console

from app.cli.files import PathsError
from app.cli.plan import Job, Plan

LOOK_EVERY_S: Final = 1.0
_REST: Final = 9  # times as long as the look itself: a huge folder takes a tenth of one core, not all of it

Stamp = tuple[int, int]
"""Size in bytes and modification time in nanoseconds."""


def refuse_unwatchable(paths: Sequence[Path], out: Path) -> None:
    """Raise PathsError unless there is a folder to watch, and results do not become photos."""
    folders = [path for path in paths if path.is_dir()]
    if not folders:
        raise PathsError("--watch needs a folder to watch")
    if out.resolve() in {folder.resolve() for folder in folders}:
        raise PathsError("--watch needs another folder for the results than the one that is watched")


async def settled(
    plan: Plan, stopped: asyncio.Event, pass_by: Callable[[Mapping[Path, str]], None]
) -> AsyncIterator[Job]:
    """Photos that were the same in two looks, each once for every time that it changes, until `stopped` is set.

    An empty file is one that somebody is about to fill. `pass_by` hears of what is left out, and why: after a look
    in which something is so for the second time.
    """
    before: dict[Path, Stamp] = {}
    given: dict[Path, Stamp] = {}
    passing: dict[Path, str] = {}
    passed: set[Path] = set()
    while not stopped.is_set():
        began = monotonic()
        now = await asyncio.to_thread(_stamps, plan)
        passed &= plan.left_out.keys()
        if new := {path: why for path, why in plan.left_out.items() if path in passing.keys() - passed}:
            passed |= new.keys()
            pass_by(new)
        passing = plan.left_out
        stamps = {job[0]: stamp for job, stamp in now}
        given = {photo: stamp for photo, stamp in given.items() if photo in stamps}
        for job, stamp in now:
            photo = job[0]
            if stamp[0] and before.get(photo) == stamp != given.get(photo):
                given[photo] = stamp
                yield job
                if stopped.is_set():
                    return
        before = stamps
        await _pause(stopped, max(LOOK_EVERY_S, _REST * (monotonic() - began)))


@contextmanager
def until_signal(console: Console) -> Iterator[asyncio.Event]:
    """An event that SIGINT or SIGTERM sets; what is under way may then be finished. A second one acts at once."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)
        console.print("stopping; photos under way are finished (Ctrl-C again leaves them)")
        stopped.set()

    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield stopped
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _stamps(plan: Plan) -> list[tuple[Job, Stamp]]:
    found = []
    for job in plan.look():
        try:
            stat = job[0].stat()
        except OSError:
            continue  # Gone since the look.
        found.append((job, (stat.st_size, stat.st_mtime_ns)))
    return found


async def _pause(stopped: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopped.wait()
    except TimeoutError:
        pass
