"""Photos on their way through the house: waited for at the end, given up when what they wait for is stuck.

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
class _One:
    task: asyncio.Task[Any]
    cancelling: int  # How often it had been cancelled before: that is not ours to answer.
    since_s: float
    aborted: str = ""


class InFlight:
    """Each task that is in `one`, and since when by `now_s`, a clock in seconds."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._all: set[_One] = set()
        self._left = asyncio.Event()

    @contextmanager
    def track(self) -> Iterator[None]:
        """The running task is in_flight. Raises NotReady if it is given up meanwhile."""
        task = asyncio.current_task()
        assert task is not None, "only a task can be inside"
        one = _One(task, task.cancelling(), self._now_s())
        self._all.add(one)
        try:
            yield
        except asyncio.CancelledError:
            if one.aborted and task.uncancel() <= one.cancelling:
                raise NotReady(one.aborted) from None
            raise
        finally:
            self._all.remove(one)
            self._left.set()

    def abort_older_than(self, older_than_s: float, reason: str) -> None:
        """Those that have been inside for so long are told `reason`, wherever they wait."""
        for one in self._all:
            if not one.aborted and self._now_s() - one.since_s >= older_than_s:
                one.aborted = reason
                one.task.cancel()

    async def drained(self) -> None:
        """Wait until nobody is in_flight."""
        while self._all:
            self._left.clear()
            await self._left.wait()
