"""Places are shared by clients: one alone may have all, several have alike."""

from __future__ import annotations

import asyncio
import time

import pytest

from app.errors import DeadlinePassed, PlaceLost
from app.middleware.concurrency_limit import SEEN, Place, Places, Room


class Request:
    """A task that holds a place until it is told to leave."""

    def __init__(self, places: Places, client: str) -> None:
        self.place: Place | None = None
        self.leave = asyncio.Event()
        self.task = asyncio.ensure_future(self._hold(places, client))

    async def _hold(self, places: Places, client: str) -> str:
        async with places.take(client) as self.place:
            await self.leave.wait()
        return client


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def come(places: Places, *clients: str) -> list[Request]:
    requests = [Request(places, client) for client in clients]
    await settle()
    return requests


async def gone(*requests: Request) -> list[object]:
    """How each ended."""
    for request in requests:
        request.leave.set()
    return await asyncio.gather(*(request.task for request in requests), return_exceptions=True)


def kinds(endings: list[object]) -> list[str]:
    return [ending if isinstance(ending, str) else type(ending).__name__ for ending in endings]


async def test_one_client_may_have_all_and_no_more() -> None:
    places = Places(Room(3), 60_000)
    requests = await come(places, *"aaaa")
    assert places.taken == 3
    assert kinds(await gone(*requests)) == ["a", "a", "a", "QueueFull"]
    assert places.taken == 0


async def test_another_client_gets_the_youngest_place_of_who_has_most() -> None:
    places = Places(Room(4), 60_000)
    requests = await come(places, *"aaabc")
    assert places.taken == 4
    assert kinds(await gone(*requests)) == ["a", "a", "PlaceLost", "b", "c"]
    assert places.taken == 0


async def test_places_are_shared_out_until_all_have_alike() -> None:
    places = Places(Room(6), 60_000)
    requests = await come(places, *"aaaaaa", *"bbbb")
    assert kinds(await gone(*requests)) == ["a"] * 3 + ["PlaceLost"] * 3 + ["b"] * 3 + ["QueueFull"]


async def test_client_with_as_many_as_the_largest_takes_none_away() -> None:
    places = Places(Room(3), 60_000)
    requests = await come(places, *"aabb")
    assert kinds(await gone(*requests)) == ["a", "a", "b", "QueueFull"]


async def test_place_whose_answer_has_begun_is_not_taken_away() -> None:
    places = Places(Room(3), 60_000)
    requests = await come(places, *"aaa")
    youngest = requests[-1].place
    assert youngest is not None
    youngest.settle()
    requests += await come(places, "b")
    assert kinds(await gone(*requests)) == ["a", "PlaceLost", "a", "b"]


async def test_answer_that_begins_in_the_moment_of_the_loss_is_kept() -> None:
    places = Places(Room(2), 60_000)
    _, youngest = requests = await come(places, *"aa")
    assert youngest.place is not None
    async with places.take("b"):
        assert youngest.place.lost
        youngest.place.settle()
    await settle()
    assert kinds(await gone(*requests)) == ["a", "a"]


async def test_nobody_is_put_out_for_who_is_alone_to_blame() -> None:
    """All places settled: nothing can be taken away, so the newcomer waits outside."""
    places = Places(Room(2), 60_000)
    requests = await come(places, *"aa")
    for request in requests:
        assert request.place is not None
        request.place.settle()
    requests += await come(places, "b")
    assert kinds(await gone(*requests)) == ["a", "a", "QueueFull"]


async def test_deadline_ends_a_place() -> None:
    places = Places(Room(1), 10)
    (request,) = await come(places, "a")
    with pytest.raises(DeadlinePassed, match="10 ms"):
        await request.task
    assert places.taken == 0


async def test_lost_place_is_not_taken_for_a_passed_deadline() -> None:
    places = Places(Room(2), 60_000)
    requests = await come(places, *"aab")
    with pytest.raises(PlaceLost, match="More clients ask than can be served"):
        await requests[1].task
    await gone(requests[0], requests[2])


async def test_fewer_places_keep_newcomers_out_and_nobody_inside_loses_one() -> None:
    room = Room(4, least=2, wait_s=1e-9)
    places = Places(room, 60_000)
    inside = await come(places, *"aaaaa")
    for _ in range(SEEN):
        room.answered(time.monotonic(), body_s=0.0, wait_s=9.0)
    assert room.places == 2
    (leaving, *rest) = inside[:4]
    assert kinds(await gone(leaving)) == ["a"]
    assert kinds(await gone(*await come(places, "a"))) == ["QueueFull"]
    assert kinds(await gone(*rest)) == ["a"] * 3


async def test_who_never_sends_his_body_keeps_nobody_out_of_fewer_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room = Room(4, least=1, wait_s=1e-9)
    places = Places(room, 60_000)
    (leaving, *inside, refused) = await come(places, *"aaaaa")
    for _ in range(SEEN):
        room.answered(time.monotonic(), body_s=0.0, wait_s=9.0)
    assert room.places == 1
    assert kinds(await gone(leaving, refused)) == ["a", "QueueFull"]
    assert kinds(await gone(*await come(places, "a"))) == ["QueueFull"]  # Their bodies may come any moment.
    monkeypatch.setattr("app.middleware.concurrency_limit.LASTING_S", -1.0)  # Now they are late.
    (newcomer,) = await come(places, "a")
    assert places.taken == 4
    newcomer.place.fill()
    inside[0].task.cancel()
    await settle()
    assert kinds(await gone(*await come(places, "a"))) == ["QueueFull"]  # The one that waits does count.
    assert kinds(await gone(newcomer, *inside[1:])) == ["a"] * 3
