"""Request slots are shared by clients: one alone may have all, several have alike."""

from __future__ import annotations

import asyncio
import time

import pytest

from app.errors import DeadlinePassed, SlotPreempted
from app.middleware.concurrency_limit import WINDOW, AdaptiveLimit, ConcurrencyLimiter, Slot


class Request:
    """A task that holds a slot until it is told to leave."""

    def __init__(self, slots: ConcurrencyLimiter, client: str) -> None:
        self.slot: Slot | None = None
        self.leave = asyncio.Event()
        self.task = asyncio.ensure_future(self._hold(slots, client))

    async def _hold(self, slots: ConcurrencyLimiter, client: str) -> str:
        async with slots.acquire(client) as self.slot:
            await self.leave.wait()
        return client


async def commit() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def come(slots: ConcurrencyLimiter, *clients: str) -> list[Request]:
    requests = [Request(slots, client) for client in clients]
    await commit()
    return requests


async def gone(*requests: Request) -> list[object]:
    """How each ended."""
    for request in requests:
        request.leave.set()
    return await asyncio.gather(*(request.task for request in requests), return_exceptions=True)


def kinds(endings: list[object]) -> list[str]:
    return [ending if isinstance(ending, str) else type(ending).__name__ for ending in endings]


async def test_one_client_may_have_all_and_no_more() -> None:
    slots = ConcurrencyLimiter(AdaptiveLimit(3), 60_000)
    requests = await come(slots, *"aaaa")
    assert slots.taken == 3
    assert kinds(await gone(*requests)) == ["a", "a", "a", "QueueFull"]
    assert slots.taken == 0


async def test_another_client_gets_the_youngest_slot_of_who_has_most() -> None:
    slots = ConcurrencyLimiter(AdaptiveLimit(4), 60_000)
    requests = await come(slots, *"aaabc")
    assert slots.taken == 4
    assert kinds(await gone(*requests)) == ["a", "a", "SlotPreempted", "b", "c"]
    assert slots.taken == 0


async def test_slots_are_shared_out_until_all_have_alike() -> None:
    slots = ConcurrencyLimiter(AdaptiveLimit(6), 60_000)
    requests = await come(slots, *"aaaaaa", *"bbbb")
    assert kinds(await gone(*requests)) == ["a"] * 3 + ["SlotPreempted"] * 3 + ["b"] * 3 + ["QueueFull"]


async def test_client_with_as_many_as_the_largest_takes_none_away() -> None:
    slots = ConcurrencyLimiter(AdaptiveLimit(3), 60_000)
    requests = await come(slots, *"aabb")
    assert kinds(await gone(*requests)) == ["a", "a", "b", "QueueFull"]


async def test_slot_whose_answer_has_begun_is_not_preempted() -> None:
    slots = ConcurrencyLimiter(AdaptiveLimit(3), 60_000)
    requests = await come(slots, *"aaa")
    youngest = requests[-1].slot
    assert youngest is not None
    youngest.commit()
    requests += await come(slots, "b")
    assert kinds(await gone(*requests)) == ["a", "SlotPreempted", "a", "b"]


async def test_answer_that_begins_in_the_moment_of_the_loss_is_kept() -> None:
    slots = ConcurrencyLimiter(AdaptiveLimit(2), 60_000)
    _, youngest = requests = await come(slots, *"aa")
    assert youngest.slot is not None
    async with slots.acquire("b"):
        assert youngest.slot.preempted
        youngest.slot.commit()
    await commit()
    assert kinds(await gone(*requests)) == ["a", "a"]


async def test_nobody_is_put_out_for_who_is_alone_to_blame() -> None:
    """All slots committed: nothing can be taken away, so the newcomer waits outside."""
    slots = ConcurrencyLimiter(AdaptiveLimit(2), 60_000)
    requests = await come(slots, *"aa")
    for request in requests:
        assert request.slot is not None
        request.slot.commit()
    requests += await come(slots, "b")
    assert kinds(await gone(*requests)) == ["a", "a", "QueueFull"]


async def test_deadline_frees_a_slot() -> None:
    slots = ConcurrencyLimiter(AdaptiveLimit(1), 10)
    (request,) = await come(slots, "a")
    with pytest.raises(DeadlinePassed, match="10 ms"):
        await request.task
    assert slots.taken == 0


async def test_preempted_slot_is_not_taken_for_a_passed_deadline() -> None:
    slots = ConcurrencyLimiter(AdaptiveLimit(2), 60_000)
    requests = await come(slots, *"aab")
    with pytest.raises(SlotPreempted, match="There are more clients than request slots"):
        await requests[1].task
    await gone(requests[0], requests[2])


async def test_lower_limit_keeps_newcomers_out_and_nobody_loses_a_slot() -> None:
    adaptive_limit = AdaptiveLimit(4, least=2, wait_s=1e-9)
    slots = ConcurrencyLimiter(adaptive_limit, 60_000)
    inside = await come(slots, *"aaaaa")
    for _ in range(WINDOW):
        adaptive_limit.record_response(time.monotonic(), body_s=0.0, wait_s=9.0)
    assert adaptive_limit.current == 2
    (leaving, *rest) = inside[:4]
    assert kinds(await gone(leaving)) == ["a"]
    assert kinds(await gone(*await come(slots, "a"))) == ["QueueFull"]
    assert kinds(await gone(*rest)) == ["a"] * 3


async def test_who_never_sends_his_body_keeps_nobody_out_under_a_lower_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adaptive_limit = AdaptiveLimit(4, least=1, wait_s=1e-9)
    slots = ConcurrencyLimiter(adaptive_limit, 60_000)
    (leaving, *inside, refused) = await come(slots, *"aaaaa")
    for _ in range(WINDOW):
        adaptive_limit.record_response(time.monotonic(), body_s=0.0, wait_s=9.0)
    assert adaptive_limit.current == 1
    assert kinds(await gone(leaving, refused)) == ["a", "QueueFull"]
    assert kinds(await gone(*await come(slots, "a"))) == ["QueueFull"]  # Their bodies may come any moment.
    monkeypatch.setattr("app.middleware.concurrency_limit.OVERLOAD_LASTS_S", -1.0)  # Now they are late.
    (newcomer,) = await come(slots, "a")
    assert slots.taken == 4
    newcomer.slot.mark_received()
    inside[0].task.cancel()
    await commit()
    assert kinds(await gone(*await come(slots, "a"))) == ["QueueFull"]  # The one that waits does count.
    assert kinds(await gone(newcomer, *inside[1:])) == ["a"] * 3
