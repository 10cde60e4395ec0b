"""Photos in flight: wait until all are done at shutdown, and abort those that wait for stuck work.

Knows tasks and a clock, and nothing of photos.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from app.errors import NotReady


@dataclass(slots=True, eq=False)
class _Entry:
    task: asyncio.Task[Any]
    cancelling: int  # cancellations before ours, which are not ours to handle
    since_s: float
    aborted: str = ""


class InFlight:
    """The tasks in `track`, and since when, by `now_s`, a clock in seconds."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._entries: set[_Entry] = set()
        self._removed = asyncio.Event()

    @contextmanager
    def track(self) -> Iterator[None]:
        """The running task is in flight while the context lasts. Raises NotReady if it is aborted meanwhile."""
        task = asyncio.current_task()
        assert task is not None, "only a task can be tracked"
        entry = _Entry(task, task.cancelling(), self._now_s())
        self._entries.add(entry)
        try:
            yield
        except asyncio.CancelledError:
            if entry.aborted and task.uncancel() <= entry.cancelling:
                raise NotReady(entry.aborted) from None
            raise
        finally:
            self._entries.remove(entry)
            self._removed.set()

    def abort_older_than(self, older_than_s: float, reason: str) -> None:
        """Abort the tasks that have been in flight for this long with NotReady(`reason`), wherever they wait."""
        for entry in self._entries:
            if not entry.aborted and self._now_s() - entry.since_s >= older_than_s:
                entry.aborted = reason
                entry.task.cancel()

    async def drained(self) -> None:
        """Wait until no task is in flight."""
        while self._entries:
            self._removed.clear()
            await self._removed.wait()
