from __future__ import annotations

import asyncio

import pytest

from app.concurrency.in_flight import Inside
from app.errors import NotReady


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def _stay(inside: Inside) -> None:
    with inside.one():
        await asyncio.Event().wait()


async def test_those_who_have_been_inside_for_so_long_are_told_why_and_the_others_stay() -> None:
    clock = Clock()
    inside = Inside(clock)
    old = asyncio.ensure_future(_stay(inside))
    await asyncio.sleep(0)
    clock.now = 5
    young = asyncio.ensure_future(_stay(inside))
    await asyncio.sleep(0)
    clock.now = 10
    for _ in range(2):
        inside.give_up(10, "no more")
    with pytest.raises(NotReady, match="no more"):
        await old
    assert not young.done()
    young.cancel()
    with pytest.raises(asyncio.CancelledError):
        await young


async def test_end_is_waited_for() -> None:
    inside = Inside(Clock())
    await inside.left()
    staying = [asyncio.ensure_future(_stay(inside)) for _ in range(2)]
    await asyncio.sleep(0)
    left = asyncio.ensure_future(inside.left())
    for each in staying:
        await asyncio.sleep(0)
        assert not left.done()
        each.cancel()
    await asyncio.wait_for(left, 10)


async def test_one_who_is_given_up_and_cancelled_by_others_as_well_is_cancelled() -> None:
    inside = Inside(Clock())
    both = asyncio.ensure_future(_stay(inside))
    await asyncio.sleep(0)
    both.cancel()
    inside.give_up(0, "no more")
    with pytest.raises(asyncio.CancelledError):
        await both


async def test_one_who_was_cancelled_before_and_lives_on_can_be_given_up() -> None:
    inside = Inside(Clock())

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await _stay(inside)

    task = asyncio.ensure_future(stubborn())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    inside.give_up(0, "no more")
    with pytest.raises(NotReady, match="no more"):
        await task
