"""Limit the requests in flight, shared fairly between clients, and fewer of them while an overload lasts.

Fairness: one client alone may take every slot. As soon as another one comes, it gets one in exchange for the youngest
of the client that has most, and so on until all have the same number ("longest queue drop"). A crowd of connections
is one client, so it keeps nobody out.

Adaptive limit: a queue that is long for a moment carries a burst over; one that is long all the time makes everybody
wait, and helps nobody (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue, 2012). The sign of the second is
that requests are refused and accepted ones wait long all the same. Then there are as many slots as are answered in
the time that a request may take (Little's law), and whoever comes after the overload finds a short queue.

Knows no HTTP: a client is a name.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from app.errors import DeadlinePassed, QueueFull, SlotPreempted


@dataclass(slots=True, eq=False)
class Slot:
    """One request's slot. It can be preempted until it is `committed`."""

    client: str
    limit: asyncio.Timeout
    ends: float = field(init=False)
    since: float
    preempted: bool = False
    received: bool = False
    committed: bool = False

    def __post_init__(self) -> None:
        ends = self.limit.when()
        assert ends is not None, "a slot is held until a deadline"
        self.ends = ends

    def mark_received(self) -> None:
        """Its body has come: from now on it waits for the answer."""
        self.received = True

    def commit(self) -> None:
        """From now on it is kept: the answer has begun."""
        self.committed = True
        if self.preempted:  # In this very moment: its request has not been told yet.
            self.preempted = False
            self.limit.reschedule(self.ends)

    def preempt(self) -> None:
        self.preempted = True
        self.limit.reschedule(asyncio.get_running_loop().time())


@asynccontextmanager
async def deadline(limit_ms: int) -> AsyncIterator[asyncio.Timeout]:
    """So many milliseconds for what is inside. Raises DeadlinePassed."""
    try:
        async with asyncio.timeout(limit_ms / 1000) as limit:
            yield limit
    except TimeoutError:
        raise DeadlinePassed(f"The request took longer than {limit_ms} ms.") from None


class ConcurrencyLimiter:
    """Slots, as many as `adaptive_limit` allows now, each for `limit_ms` milliseconds at most.

    While that is fewer than the maximum, requests whose bodies are long in coming do not count: else
    clients who never send theirs would leave the service idle.
    """

    def __init__(self, adaptive_limit: AdaptiveLimit, limit_ms: int) -> None:
        self._limit = adaptive_limit
        self._limit_ms = limit_ms
        self._taken: dict[str, list[Slot]] = {}

    @property
    def taken(self) -> int:
        return sum(len(slots) for slots in self._taken.values())

    def acquire(self, client: str) -> AbstractAsyncContextManager[Slot]:
        """Hold a slot while the context lasts, which may raise SlotPreempted or DeadlinePassed. Raises QueueFull."""
        self._free_slot(client)
        return self._held_slot(client)

    @asynccontextmanager
    async def _held_slot(self, client: str) -> AsyncIterator[Slot]:
        try:
            async with deadline(self._limit_ms) as limit:
                slot = Slot(client, limit, time.monotonic())
                self._taken.setdefault(client, []).append(slot)
                try:
                    yield slot
                finally:
                    self._leave(slot)
        except DeadlinePassed:
            if not slot.preempted:
                raise
            raise SlotPreempted(
                "More clients ask than can be served at once, and you had the most requests. Try again soon."
            ) from None

    def _free_slot(self, client: str) -> None:
        if self._has_free_slot(now := time.monotonic()):
            return
        self._limit.record_rejection(now)
        preempted = self._slot_to_preempt(client)
        if preempted is None:
            raise QueueFull(f"All {self.taken} request slots are in use; try again soon.")
        self._leave(preempted)
        preempted.preempt()

    def _has_free_slot(self, now: float) -> bool:
        return self.taken < self._limit.most and self._counted(now) < self._limit.current

    def _counted(self, now: float) -> int:
        """Slots whose requests wait for the service, or will before long."""
        begun = now - self._limit.body_grace_s
        return sum(slot.received or slot.since >= begun for slots in self._taken.values() for slot in slots)

    def _slot_to_preempt(self, newcomer: str) -> Slot | None:
        """The youngest slot of the client with most, if even without it that client has as many as
        the newcomer."""
        most = max(self._taken.values(), key=len)
        if len(most) - 1 < len(self._taken.get(newcomer, ())) + 1:
            return None
        return next((each for each in reversed(most) if not (each.committed or each.limit.expired())), None)

    def _leave(self, slot: Slot) -> None:
        slots = self._taken.get(slot.client, [])
        if slot in slots:
            slots.remove(slot)
            if not slots:
                del self._taken[slot.client]


LASTING_S: Final = 1.0  # after a refusal the flood is believed to go on for so long
SEEN: Final = 16  # answers that tell how many there are in a second


class AdaptiveLimit:
    """At most `most` slots; under a lasting overload as few as `least`, so that answers come about `wait_s` seconds
    after the bodies; 0 for `wait_s`: always all. Moments are seconds of one clock. Cf. Netflix concurrency-limits."""

    def __init__(self, most: int, least: int = 1, wait_s: float = 0.0) -> None:
        self.most = most
        self._least = min(least, most)
        self._wait_s = wait_s
        self._current = float(most)
        self._refused_at = float("-inf")
        self._seen: deque[tuple[float, float]] = deque(maxlen=SEEN)  # moment, and seconds of the body

    @property
    def current(self) -> int:
        """How many slots there are now."""
        return int(self._current)

    @property
    def body_grace_s(self) -> float:
        """Seconds after which a body is not believed to come soon, so that it takes nobody's slot."""
        return LASTING_S + 2 * self._mean_body_s

    def record_rejection(self, now: float) -> None:
        """A request found no slot."""
        self._refused_at = now

    def record_response(self, now: float, *, body_s: float, wait_s: float) -> None:
        """A request whose body took `body_s` seconds to come was answered `wait_s` seconds later."""
        self._seen.append((now, body_s))
        flooded = now - self._refused_at <= LASTING_S
        if wait_s <= self._wait_s or not self._wait_s:
            # In a flood one more for each round of answers, so that it is seen in time when there are too many.
            self._current = min(self.most, self._current + (1 / self._current if flooded else 1))
        elif flooded and len(self._seen) == SEEN:
            self._current = max(self._least, min(self._current, self._answered_in_time()))

    def _answered_in_time(self) -> float:
        """How many answers there are, at the rate of the last ones, in the time that a request may take. Bodies count
        as long as they do take: a slot whose body is still coming keeps nobody waiting."""
        (first, _), (last, _) = self._seen[0], self._seen[-1]
        return (SEEN - 1) / max(last - first, 1e-6) * (self._wait_s + self._mean_body_s)

    @property
    def _mean_body_s(self) -> float:
        return sum(body_s for _, body_s in self._seen) / max(1, len(self._seen))
