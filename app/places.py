"""As many requests at once as there is room for, shared fairly: when all places are taken, who has most gives one up.

One client alone may take every place. As soon as another one comes, it gets one in exchange for the youngest of the
client that has most, and so on until all have the same number ("longest queue drop"). A crowd of connections is one
client, so it keeps nobody out. Knows no HTTP: a client is a name.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

from app.errors import DeadlinePassed, PlaceLost, QueueFull
from app.room import Room


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
