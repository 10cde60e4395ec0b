"""A concurrency limiter that is fair between clients, and an adaptive limit that shrinks under sustained overload.

Fairness: a single client may take every slot. When all slots are taken, a new client takes the youngest one from the
client that holds most, and so on until all clients hold the same number ("longest queue drop"). Many connections of
one client count as one client, so they cannot lock others out.

Adaptive limit: a short queue absorbs bursts; a queue that is always long only makes every request wait (Nichols and
Jacobson, "Controlling Queue Delay", ACM Queue, 2012). Overload is sustained when requests are refused and accepted
requests still wait long. The limit then shrinks to throughput × target latency (Little's law), so that requests after
the overload find a short queue.

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
    deadline_at: float = field(init=False)
    since: float
    preempted: bool = False
    received: bool = False
    committed: bool = False

    def __post_init__(self) -> None:
        deadline_at = self.limit.when()
        assert deadline_at is not None, "a slot is held until a deadline"
        self.deadline_at = deadline_at

    def mark_received(self) -> None:
        """The body is complete: from now on the request waits for the service."""
        self.received = True

    def commit(self) -> None:
        """The answer has begun: from now on the slot cannot be preempted."""
        self.committed = True
        if self.preempted:  # At this very moment: the timeout has not been raised yet.
            self.preempted = False
            self.limit.reschedule(self.deadline_at)

    def preempt(self) -> None:
        """Give the slot to another client; the request's context raises SlotPreempted."""
        self.preempted = True
        self.limit.reschedule(asyncio.get_running_loop().time())


@asynccontextmanager
async def deadline(limit_ms: int) -> AsyncIterator[asyncio.Timeout]:
    """Limit the context to `limit_ms` milliseconds. Raises DeadlinePassed."""
    try:
        async with asyncio.timeout(limit_ms / 1000) as limit:
            yield limit
    except TimeoutError:
        raise DeadlinePassed(f"The request took longer than {limit_ms} ms.") from None


class ConcurrencyLimiter:
    """Give out as many slots as `adaptive_limit` allows, each for `limit_ms` milliseconds at most.

    While the adaptive limit is below its maximum, requests whose bodies arrive slowly do not count against it:
    clients that never finish their bodies could otherwise leave the service idle.
    """

    def __init__(self, adaptive_limit: AdaptiveLimit, limit_ms: int) -> None:
        self._limit = adaptive_limit
        self._limit_ms = limit_ms
        self._taken: dict[str, list[Slot]] = {}

    @property
    def taken(self) -> int:
        """Slots in use."""
        return sum(len(slots) for slots in self._taken.values())

    def acquire(self, client: str) -> AbstractAsyncContextManager[Slot]:
        """Hold a slot while the context lasts. Raises QueueFull if there is none; the context raises SlotPreempted or
        DeadlinePassed."""
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
                    self._release(slot)
        except DeadlinePassed:
            if not slot.preempted:
                raise
            raise SlotPreempted(
                "There are more clients than request slots, and you held the most slots. Try again soon."
            ) from None

    def _free_slot(self, client: str) -> None:
        """Make sure that a slot is free, by preemption if needed. Raises QueueFull."""
        if self._has_free_slot(now := time.monotonic()):
            return
        self._limit.record_rejection(now)
        preempted = self._slot_to_preempt(client)
        if preempted is None:
            raise QueueFull(f"All {self.taken} request slots are in use; try again soon.")
        self._release(preempted)
        preempted.preempt()

    def _has_free_slot(self, now: float) -> bool:
        return self.taken < self._limit.most and self._waiting(now) < self._limit.current

    def _waiting(self, now: float) -> int:
        """Slots whose requests wait for the service, or are expected to within the grace period of their bodies."""
        begun = now - self._limit.body_grace_s
        return sum(slot.received or slot.since >= begun for slots in self._taken.values() for slot in slots)

    def _slot_to_preempt(self, newcomer: str) -> Slot | None:
        """The youngest slot of the client that holds most; None if that client would then hold fewer slots than the
        newcomer."""
        most = max(self._taken.values(), key=len)
        if len(most) - 1 < len(self._taken.get(newcomer, ())) + 1:
            return None
        return next((each for each in reversed(most) if not (each.committed or each.limit.expired())), None)

    def _release(self, slot: Slot) -> None:
        slots = self._taken.get(slot.client, [])
        if slot in slots:
            slots.remove(slot)
            if not slots:
                del self._taken[slot.client]


OVERLOAD_LASTS_S: Final = 1.0  # an overload is assumed to last for this long after a refusal
WINDOW: Final = 16  # the last answers, from which the throughput is measured


class AdaptiveLimit:
    """At most `most` slots; under sustained overload as few as `least`, so that answers come about `wait_s` seconds
    after their bodies. With `wait_s` 0 the limit is always `most`. All times are seconds of one clock. Cf. Netflix
    concurrency-limits."""

    def __init__(self, most: int, least: int = 1, wait_s: float = 0.0) -> None:
        self.most = most
        self._least = min(least, most)
        self._wait_s = wait_s
        self._current = float(most)
        self._refused_at = float("-inf")
        # time of the answer, seconds of the body
        self._answers: deque[tuple[float, float]] = deque(maxlen=WINDOW)

    @property
    def current(self) -> int:
        """The present limit."""
        return int(self._current)

    @property
    def body_grace_s(self) -> float:
        """Seconds within which a body is expected to arrive; until then its request counts as waiting."""
        return OVERLOAD_LASTS_S + 2 * self._mean_body_s

    def record_rejection(self, now: float) -> None:
        """Record that a request was refused a slot."""
        self._refused_at = now

    def record_response(self, now: float, *, body_s: float, wait_s: float) -> None:
        """Record that a request was answered `wait_s` seconds after its body, which took `body_s` seconds."""
        self._answers.append((now, body_s))
        overloaded = now - self._refused_at <= OVERLOAD_LASTS_S
        if wait_s <= self._wait_s or not self._wait_s:
            # Under overload grow by one per round of answers, so that too high a limit is noticed in time.
            self._current = min(self.most, self._current + (1 / self._current if overloaded else 1))
        elif overloaded and len(self._answers) == WINDOW:
            self._current = max(self._least, min(self._current, self._latency_bound()))

    def _latency_bound(self) -> float:
        """Throughput × target latency (Little's law). The time of the bodies is part of the latency: a slot whose
        body is still arriving makes no other request wait."""
        (first, _), (last, _) = self._answers[0], self._answers[-1]
        return (WINDOW - 1) / max(last - first, 1e-6) * (self._wait_s + self._mean_body_s)

    @property
    def _mean_body_s(self) -> float:
        return sum(body_s for _, body_s in self._answers) / max(1, len(self._answers))
