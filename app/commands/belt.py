"""Photos go by, a few in hand at once, and their files are written. Knows no pixels, and no model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from app.commands import files
from app.commands.failures import Failure
from app.commands.ledger import Ledger
from app.commands.names import shown
from app.commands.plan import Job
from app.commands.work import Done, PhotoFailed, WorkEnds, Worker
from app.errors import MissingSource, MultipleSources
from app.picture import containers

UNREACHED: Final = "storage"
"""The code of a file that could not be read or written; `bulk` calls it so, too."""


@dataclass(slots=True)
class Tally:
    """What became of the photos. `left_out`: files that are none, and why. `ended`: why no more were tried."""

    written: int = 0
    skipped: int = 0
    empty: list[Path] = field(default_factory=list)
    failures: dict[Path, Failure] = field(default_factory=dict)
    left_out: dict[Path, str] = field(default_factory=dict)
    ended: str = ""

    @property
    def tried(self) -> int:
        """Photos that were written or failed."""
        return self.written + len(self.failures)


class Belt:
    """`tell` hears of each photo that is through, and what came of it: where it was written to, or why not."""

    def __init__(
        self, worker: Worker, ledger: Ledger | None, tally: Tally, tell: Callable[[Job, str], None]
    ) -> None:
        self._worker = worker
        self._ledger = ledger
        self._tally = tally
        self._tell = tell

    async def carry(self, jobs: AsyncIterator[Job]) -> None:
        """All of `jobs`, or those up to the point where the worker ends the work, which the tally then says."""
        places = asyncio.Semaphore(self._worker.places)
        try:
            async with asyncio.TaskGroup() as group:
                async for job in jobs:
                    await places.acquire()
                    group.create_task(self._one(job)).add_done_callback(lambda _task: places.release())
        except* WorkEnds as ends:
            self._tally.ended = str(ends.exceptions[0])

    async def _one(self, job: Job) -> None:
        source, target = job
        outcome = shown(target)
        try:
            data, mark = await asyncio.to_thread(self._read, source)
            done = await self._worker.work(data)
            await asyncio.to_thread(self._write, job, done, mark)
        except (PhotoFailed, OSError) as error:
            outcome = _said(error, source)
            code = error.code if isinstance(error, PhotoFailed) else UNREACHED
            self._tally.failures[source] = Failure(code, outcome)
        else:
            self._tally.written += 1
            self._tally.failures.pop(source, None)  # Of a watched photo that has been put right.
            if not done.foreground:
                self._tally.empty.append(source)
                outcome += " (nobody was found)"
        self._tell(job, outcome)

    def _read(self, source: Path) -> tuple[bytes, str]:
        """The mark is taken first: a photo that is replaced meanwhile is then done once more, not once too little."""
        mark = self._ledger.mark(source) if self._ledger is not None else ""
        data = files.read(source)
        if not data:
            empty = "nothing came from standard input" if source == files.STDIO else "the file is empty"
            raise PhotoFailed(empty, MissingSource.code)
        if source == files.STDIO and containers.is_followed(data):
            raise PhotoFailed(
                "more than one picture came from standard input; send one at a time, or name files",
                MultipleSources.code,
            )
        return data, mark

    def _write(self, job: Job, done: Done, mark: str) -> None:
        target, ledger = job[1], self._ledger
        if ledger is None:
            files.write(target, done.data)
        else:
            files.write(target, done.data, lambda: ledger.add(target, mark, len(done.data)))


def _said(error: Exception, source: Path) -> str:
    """Without the number of the operating system's error, and without the photo's name, which stands before it."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    other = error.filename is not None and error.filename != str(source)
    return f"{error.strerror}: {error.filename}" if other else error.strerror
