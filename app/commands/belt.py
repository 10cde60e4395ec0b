"""Photos go by, a few in hand at once, and their files are written. Knows no pixels, and no model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from app.commands import files
from app.commands.files import Job
from app.commands.ledger import Ledger
from app.commands.work import Done, PhotoFailed, WorkEnds, Worker


@dataclass(slots=True)
class Tally:
    """What became of the photos. `ended`: why no more of them were tried."""

    written: int = 0
    skipped: int = 0
    empty: list[Path] = field(default_factory=list)
    failures: dict[Path, str] = field(default_factory=dict)
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
        outcome = str(target)
        try:
            data, mark = await asyncio.to_thread(self._read, source)
            done = await self._worker.work(data)
            await asyncio.to_thread(self._write, job, done, mark)
        except (PhotoFailed, OSError) as error:
            outcome = self._tally.failures[source] = str(error)
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
        return files.read(source), mark

    def _write(self, job: Job, done: Done, mark: str) -> None:
        files.write(job[1], done.data)
        if self._ledger is not None:
            self._ledger.add(job[1], mark)
