"""The memory budget admits by bytes: in order, never more than there are, and always given back."""

from __future__ import annotations

import asyncio

import pytest

from app.concurrency.memory_budget import MemoryBudget


class Guest:
    """A task that stays in the budget until it is told to leave."""

    def __init__(self, budget: MemoryBudget, amount: int, client: str = "") -> None:
        self.inside = asyncio.Event()
        self.leave = asyncio.Event()
        self.task = asyncio.ensure_future(self._visit(budget, amount, client))

    async def _visit(self, budget: MemoryBudget, amount: int, client: str) -> float:
        async with budget.reserve(amount, client) as waited_s:
            self.inside.set()
            await self.leave.wait()
            return waited_s


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_fits_comes_in_and_the_rest_waits_in_order() -> None:
    budget = MemoryBudget(10)
    guests = [Guest(budget, amount) for amount in (4, 5, 3, 1)]
    await settle()
    # The last would fit, but does not overtake the third.
    assert [guest.inside.is_set() for guest in guests] == [True, True, False, False]
    assert (budget.taken, budget.waiting) == (9, 2)
    guests[0].leave.set()
    await settle()
    assert [guest.inside.is_set() for guest in guests] == [True] * 4
    assert (budget.taken, budget.waiting) == (9, 0)
    for guest in guests:
        guest.leave.set()
    waited = await asyncio.gather(*(guest.task for guest in guests))
    assert all(seconds >= 0 for seconds in waited)
    assert budget.taken == 0


async def test_what_is_larger_than_all_comes_in_alone() -> None:
    budget = MemoryBudget(10)
    small, giant, after = (Guest(budget, amount) for amount in (1, 1_000, 1))
    await settle()
    assert not giant.inside.is_set()
    small.leave.set()
    await settle()
    assert giant.inside.is_set()
    assert not after.inside.is_set()
    giant.leave.set()
    await settle()
    assert after.inside.is_set()
    after.leave.set()
    await asyncio.gather(small.task, giant.task, after.task)
    assert budget.taken == 0


async def test_one_that_gives_up_waiting_lets_those_behind_it_in() -> None:
    budget = MemoryBudget(10)
    first, large, small = (Guest(budget, amount) for amount in (6, 8, 2))
    await settle()
    assert not small.inside.is_set()
    large.task.cancel()
    await settle()
    assert small.inside.is_set()
    for guest in (first, small):
        guest.leave.set()
    await asyncio.gather(first.task, small.task)
    assert (budget.taken, budget.waiting) == (0, 0)


async def test_one_that_gives_up_in_the_moment_it_is_let_in_gives_its_bytes_back() -> None:
    budget = MemoryBudget(10)
    first, second = Guest(budget, 10), Guest(budget, 10)
    await settle()
    first.leave.set()
    await first.task  # Its bytes are passed on; the second has not run since.
    assert budget.taken == 10
    second.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second.task
    assert (budget.taken, budget.waiting) == (0, 0)


async def test_one_that_gives_up_in_the_moment_bytes_are_freed_takes_none() -> None:
    budget = MemoryBudget(10)
    first, second, third = Guest(budget, 10), Guest(budget, 10), Guest(budget, 4)
    await settle()
    first.leave.set()
    second.task.cancel()  # Neither of the two has run since.
    await settle()
    assert third.inside.is_set()
    assert budget.taken == 4
    third.leave.set()
    await third.task
    assert budget.taken == 0


async def test_a_failure_inside_gives_the_bytes_back() -> None:
    budget = MemoryBudget(10)
    with pytest.raises(RuntimeError):
        async with budget.reserve(7):
            raise RuntimeError
    assert budget.taken == 0


async def test_clients_take_turns() -> None:
    budget = MemoryBudget(1)
    first = Guest(budget, 1, "many")
    await settle()
    many = [Guest(budget, 1, "many") for _ in range(3)]
    few = [Guest(budget, 1, "few") for _ in range(2)]
    await settle()
    order = []
    leaving = first
    while waiting := [guest for guest in (*many, *few) if not guest.inside.is_set()]:
        leaving.leave.set()
        await settle()
        (leaving,) = [guest for guest in waiting if guest.inside.is_set()]
        order.append("few" if leaving in few else "many")
    assert order == ["many", "few", "many", "few", "many"]
    leaving.leave.set()
    await asyncio.gather(*(guest.task for guest in (first, *many, *few)))
    assert (budget.taken, budget.waiting) == (0, 0)


async def test_large_photo_keeps_its_turn_before_other_clients_small_ones() -> None:
    budget = MemoryBudget(10)
    inside = Guest(budget, 6, "a")
    await settle()
    large, small = Guest(budget, 8, "b"), Guest(budget, 1, "c")
    await settle()
    assert not large.inside.is_set()
    assert not small.inside.is_set()
    inside.leave.set()
    await settle()
    assert large.inside.is_set()
    assert small.inside.is_set()
    for guest in (large, small):
        guest.leave.set()
    await asyncio.gather(inside.task, large.task, small.task)


async def test_client_who_left_the_queue_gets_no_turn() -> None:
    budget = MemoryBudget(1)
    first = Guest(budget, 1, "a")
    await settle()
    gone, next_one = Guest(budget, 1, "b"), Guest(budget, 1, "c")
    await settle()
    gone.task.cancel()
    await settle()
    assert budget.waiting == 1
    first.leave.set()
    await settle()
    assert next_one.inside.is_set()
    next_one.leave.set()
    await asyncio.gather(first.task, next_one.task)
    assert budget.taken == 0


async def test_no_more_photos_than_allowed_come_in_however_small() -> None:
    budget = MemoryBudget(1_000, max_photos=2)
    guests = [Guest(budget, 1) for _ in range(3)]
    await settle()
    assert [guest.inside.is_set() for guest in guests] == [True, True, False]
    guests[0].leave.set()
    await settle()
    assert guests[2].inside.is_set()
    for guest in guests:
        guest.leave.set()
    await asyncio.gather(*(guest.task for guest in guests))
    assert (budget.taken, budget.waiting) == (0, 0)
