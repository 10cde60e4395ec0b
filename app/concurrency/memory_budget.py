"""A memory budget for decoded photos. Waiting photos are admitted round-robin per client; they wait as files.

A photo's pixels are many times larger than its file, and stay in memory until its matte is done; so the sum of their
bytes is limited, not their number. The photos of one client are admitted in order of arrival. A large photo is never
overtaken for ever by small ones, and a client that posts many does not delay another one's few. Knows nothing of
photos, only amounts; a client is a name.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    amount: int
    granted: asyncio.Future[None]


class MemoryBudget:
    """A budget of `total` bytes. A photo larger than that is admitted when no other one is.

    `max_photos` limits the number of admitted photos, however small. Admitted photos are processed in order of
    arrival, so clients are served in the same turns in which they are admitted.
    """

    def __init__(self, total: int, max_photos: int = sys.maxsize) -> None:
        self.max_photos = max_photos
        self._total = total
        self._taken = 0
        self._in_flight = 0
        # by client; the client whose turn is next comes first
        self._queues: OrderedDict[str, deque[_Waiter]] = OrderedDict()

    @property
    def taken(self) -> int:
        """Bytes in use."""
        return self._taken

    @property
    def waiting(self) -> int:
        """Photos that wait to be admitted."""
        return sum(len(queue) for queue in self._queues.values())

    @asynccontextmanager
    async def reserve(self, amount: int, client: str = "") -> AsyncIterator[float]:
        """Hold `amount` bytes while the context lasts; yields the seconds that it waited for them."""
        amount = min(amount, self._total)
        started = time.perf_counter()
        await self._take(amount, client)
        try:
            yield time.perf_counter() - started
        finally:
            self._release(amount)
            self._admit()

    async def _take(self, amount: int, client: str) -> None:
        waiter = _Waiter(amount, asyncio.get_running_loop().create_future())
        self._queues.setdefault(client, deque()).append(waiter)
        self._admit()
        try:
            await waiter.granted
        except asyncio.CancelledError:
            queue = self._queues.get(client, deque())
            if waiter in queue:
                queue.remove(waiter)
                if not queue:
                    del self._queues[client]
            elif not waiter.granted.cancelled():  # Admitted at the same moment: release it again.
                self._release(amount)
            self._admit()
            raise

    def _release(self, amount: int) -> None:
        self._taken -= amount
        self._in_flight -= 1

    def _admit(self) -> None:
        """Admit the photos that fit, one per client in turn; skip the cancelled ones."""
        while self._queues:
            client, queue = next(iter(self._queues.items()))
            if self._in_flight >= self.max_photos or self._taken + queue[0].amount > self._total:
                return
            waiter = queue.popleft()
            self._queues.move_to_end(client)
            if not queue:
                del self._queues[client]
            if not waiter.granted.done():
                self._taken += waiter.amount
                self._in_flight += 1
                waiter.granted.set_result(None)
