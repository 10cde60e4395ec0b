from __future__ import annotations

import asyncio

import pytest

from app.concurrency.in_flight import InFlight
from app.errors import NotReady


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def _stay(in_flight: InFlight) -> None:
    with in_flight.track():
        await asyncio.Event().wait()


async def test_those_who_have_been_inside_for_so_long_are_told_why_and_the_others_stay() -> None:
    clock = Clock()
    in_flight = InFlight(clock)
    old = asyncio.ensure_future(_stay(in_flight))
    await asyncio.sleep(0)
    clock.now = 5
    young = asyncio.ensure_future(_stay(in_flight))
    await asyncio.sleep(0)
    clock.now = 10
    for _ in range(2):
        in_flight.abort_older_than(10, "no more")
    with pytest.raises(NotReady, match="no more"):
        await old
    assert not young.done()
    young.cancel()
    with pytest.raises(asyncio.CancelledError):
        await young


async def test_end_is_waited_for() -> None:
    in_flight = InFlight(Clock())
    await in_flight.drained()
    staying = [asyncio.ensure_future(_stay(in_flight)) for _ in range(2)]
    await asyncio.sleep(0)
    left = asyncio.ensure_future(in_flight.drained())
    for each in staying:
        await asyncio.sleep(0)
        assert not left.done()
        each.cancel()
    await asyncio.wait_for(left, 10)


async def test_one_who_is_given_up_and_cancelled_by_others_as_well_is_cancelled() -> None:
    in_flight = InFlight(Clock())
    both = asyncio.ensure_future(_stay(in_flight))
    await asyncio.sleep(0)
    both.cancel()
    in_flight.abort_older_than(0, "no more")
    with pytest.raises(asyncio.CancelledError):
        await both


async def test_one_who_was_cancelled_before_and_lives_on_can_be_given_up() -> None:
    in_flight = InFlight(Clock())

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await _stay(in_flight)

    task = asyncio.ensure_future(stubborn())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    in_flight.abort_older_than(0, "no more")
    with pytest.raises(NotReady, match="no more"):
        await task
