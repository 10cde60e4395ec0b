"""So many bytes of decoded photos at once: the others wait as the files they came as.

A photo's pixels are many times larger than its file, and are kept until its matte is done. What bounds memory is
therefore their sum, not their number. Places are given in order of arrival: a large photo is not overtaken for ever
by small ones. Knows nothing of photos, only amounts.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Budget:
    """`total` in bytes. Something larger than all of it is taken when nothing else is there."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def taken(self) -> int:
        """Bytes in use."""
        return self._taken

    @property
    def waiting(self) -> int:
        """How many wait for their place."""
        return len(self._waiting)

    @asynccontextmanager
    async def reserve(self, amount: int) -> AsyncIterator[float]:
        """A place of `amount` bytes while the context lasts; gives the seconds that were waited for it."""
        amount = min(amount, self._total)
        started = time.perf_counter()
        await self._take(amount)
        try:
            yield time.perf_counter() - started
        finally:
            self._taken -= amount
            self._admit()

    async def _take(self, amount: int) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (amount, place)
        self._waiting.append(entry)
        self._admit()
        try:
            await place
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
            elif not place.cancelled():  # Let in at the same moment: the place goes back.
                self._taken -= amount
            self._admit()
            raise

    def _admit(self) -> None:
        """Let in from the front whatever fits; who has left the queue by being cancelled is passed over."""
        while self._waiting and self._taken + self._waiting[0][0] <= self._total:
            amount, place = self._waiting.popleft()
            if not place.done():
                self._taken += amount
                place.set_result(None)
