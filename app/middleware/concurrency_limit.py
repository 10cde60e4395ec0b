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

from app.errors import DeadlinePassed, PlaceLost, QueueFull


@dataclass(slots=True, eq=False)
class Place:
    """One request's. It can be lost until it is `settled`."""

    client: str
    limit: asyncio.Timeout
    ends: float = field(init=False)
    since: float
    lost: bool = False
    filled: bool = False
    settled: bool = False

    def __post_init__(self) -> None:
        ends = self.limit.when()
        assert ends is not None, "a place is held until a deadline"
        self.ends = ends

    def fill(self) -> None:
        """Its body has come: from now on it waits for the answer."""
        self.filled = True

    def settle(self) -> None:
        """From now on it is kept: the answer has begun."""
        self.settled = True
        if self.lost:  # In this very moment: its request has not been told yet.
            self.lost = False
            self.limit.reschedule(self.ends)

    def lose(self) -> None:
        self.lost = True
        self.limit.reschedule(asyncio.get_running_loop().time())


@asynccontextmanager
async def deadline(limit_ms: int) -> AsyncIterator[asyncio.Timeout]:
    """So many milliseconds for what is inside. Raises DeadlinePassed."""
    try:
        async with asyncio.timeout(limit_ms / 1000) as limit:
            yield limit
    except TimeoutError:
        raise DeadlinePassed(f"The request took longer than {limit_ms} ms.") from None


class Places:
    """As many as `room` has, each for `limit_ms` milliseconds at most. When these are fewer than its most, those
    whose bodies are long in coming do not count: else clients who never send theirs would leave the service idle."""

    def __init__(self, room: Room, limit_ms: int) -> None:
        self._room = room
        self._limit_ms = limit_ms
        self._taken: dict[str, list[Place]] = {}

    @property
    def taken(self) -> int:
        return sum(len(places) for places in self._taken.values())

    def take(self, client: str) -> AbstractAsyncContextManager[Place]:
        """A place while the context lasts, which may raise PlaceLost or DeadlinePassed. Raises QueueFull at once."""
        self._make_room(client)
        return self._place(client)

    @asynccontextmanager
    async def _place(self, client: str) -> AsyncIterator[Place]:
        try:
            async with deadline(self._limit_ms) as limit:
                place = Place(client, limit, time.monotonic())
                self._taken.setdefault(client, []).append(place)
                try:
                    yield place
                finally:
                    self._leave(place)
        except DeadlinePassed:
            if not place.lost:
                raise
            raise PlaceLost(
                "More clients ask than can be served at once, and you had the most requests. Try again soon."
            ) from None

    def _make_room(self, client: str) -> None:
        if self._has_room(now := time.monotonic()):
            return
        self._room.refused(now)
        victim = self._victim(client)
        if victim is None:
            raise QueueFull(f"All {self.taken} request slots are in use; try again soon.")
        self._leave(victim)
        victim.lose()

    def _has_room(self, now: float) -> bool:
        return self.taken < self._room.most and self._counted(now) < self._room.places

    def _counted(self, now: float) -> int:
        """Places whose requests wait for the service, or will before long."""
        begun = now - self._room.patience_s
        return sum(
            place.filled or place.since >= begun for places in self._taken.values() for place in places
        )

    def _victim(self, newcomer: str) -> Place | None:
        """The youngest place of who has the most, if even without it they would have no fewer than the newcomer."""
        most = max(self._taken.values(), key=len)
        if len(most) - 1 < len(self._taken.get(newcomer, ())) + 1:
            return None
        return next((each for each in reversed(most) if not (each.settled or each.limit.expired())), None)

    def _leave(self, place: Place) -> None:
        places = self._taken.get(place.client, [])
        if place in places:
            places.remove(place)
            if not places:
                del self._taken[place.client]


LASTING_S: Final = 1.0  # after a refusal the flood is believed to go on for so long
SEEN: Final = 16  # answers that tell how many there are in a second


class Room:
    """`most` places; under a lasting flood as few as `least`, so that answers come about `wait_s` seconds after the
    bodies; 0 for `wait_s`: always all. Moments are seconds of one clock."""

    def __init__(self, most: int, least: int = 1, wait_s: float = 0.0) -> None:
        self.most = most
        self._least = min(least, most)
        self._wait_s = wait_s
        self._places = float(most)
        self._refused_at = float("-inf")
        self._seen: deque[tuple[float, float]] = deque(maxlen=SEEN)  # moment, and seconds of the body

    @property
    def places(self) -> int:
        """So many there are now."""
        return int(self._places)

    @property
    def patience_s(self) -> float:
        """A body that has taken so many seconds is not believed to come soon: it takes nobody's place."""
        return LASTING_S + 2 * self._mean_body_s

    def refused(self, now: float) -> None:
        """Somebody found no place."""
        self._refused_at = now

    def answered(self, now: float, *, body_s: float, wait_s: float) -> None:
        """A request whose body took `body_s` seconds to come was answered `wait_s` seconds later."""
        self._seen.append((now, body_s))
        flooded = now - self._refused_at <= LASTING_S
        if wait_s <= self._wait_s or not self._wait_s:
            # In a flood one more for each round of answers, so that it is seen in time when there are too many.
            self._places = min(self.most, self._places + (1 / self._places if flooded else 1))
        elif flooded and len(self._seen) == SEEN:
            self._places = max(self._least, min(self._places, self._answered_in_time()))

    def _answered_in_time(self) -> float:
        """How many answers there are, at the rate of the last ones, in the time that a request may take. Bodies count
        as long as they do take: a place that is being filled keeps nobody waiting."""
        (first, _), (last, _) = self._seen[0], self._seen[-1]
        return (SEEN - 1) / max(last - first, 1e-6) * (self._wait_s + self._mean_body_s)

    @property
    def _mean_body_s(self) -> float:
        return sum(body_s for _, body_s in self._seen) / max(1, len(self._seen))
