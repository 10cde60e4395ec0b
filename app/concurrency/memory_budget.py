"""So many bytes of decoded photos at once, and so many photos: the others wait as the files they came as.

A photo's pixels are many times larger than its file, and are kept until its matte is done. What bounds memory is
therefore their sum, not their number. Clients take turns, and each one's photos come in by order of arrival: no large
photo is overtaken for ever by small ones, and a client who posts many does not keep another one's few waiting. Knows
nothing of photos, only amounts; a client is a name.
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
class _Entry:
    amount: int
    place: asyncio.Future[None]


class MemoryBudget:
    """`total` in bytes. Something larger than all of it is taken when nothing else is there.

    `most`: no more photos than that at once, however small. Once inside they go on in order of arrival, so the turns
    that clients take here are the turns that they are served in.
    """

    def __init__(self, total: int, most: int = sys.maxsize) -> None:
        self.most = most
        self._total = total
        self._taken = 0
        self._inside = 0
        self._lines: OrderedDict[str, deque[_Entry]] = (
            OrderedDict()
        )  # of each client; whose turn it is, first

    @property
    def taken(self) -> int:
        """Bytes in use."""
        return self._taken

    @property
    def waiting(self) -> int:
        """How many wait for their place."""
        return sum(len(line) for line in self._lines.values())

    @asynccontextmanager
    async def reserve(self, amount: int, client: str = "") -> AsyncIterator[float]:
        """A place of `amount` bytes while the context lasts; gives the seconds that were waited for it."""
        amount = min(amount, self._total)
        started = time.perf_counter()
        await self._take(amount, client)
        try:
            yield time.perf_counter() - started
        finally:
            self._give_back(amount)
            self._admit()

    async def _take(self, amount: int, client: str) -> None:
        entry = _Entry(amount, asyncio.get_running_loop().create_future())
        self._lines.setdefault(client, deque()).append(entry)
        self._admit()
        try:
            await entry.place
        except asyncio.CancelledError:
            line = self._lines.get(client, deque())
            if entry in line:
                line.remove(entry)
                if not line:
                    del self._lines[client]
            elif not entry.place.cancelled():  # Let in at the same moment: the place goes back.
                self._give_back(amount)
            self._admit()
            raise

    def _give_back(self, amount: int) -> None:
        self._taken -= amount
        self._inside -= 1

    def _admit(self) -> None:
        """Let in whatever fits, a turn for each client; who has left by being cancelled is passed over."""
        while self._lines:
            client, line = next(iter(self._lines.items()))
            if self._inside >= self.most or self._taken + line[0].amount > self._total:
                return
            entry = line.popleft()
            self._lines.move_to_end(client)
            if not line:
                del self._lines[client]
            if not entry.place.done():
                self._taken += entry.amount
                self._inside += 1
                entry.place.set_result(None)
