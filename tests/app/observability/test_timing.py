from __future__ import annotations

import asyncio

import pytest

from app.observability import timing
from app.observability.timing import Stage


def test_nothing_is_kept_where_nobody_collects() -> None:
    timing.record("decode", 1.0, 2.0)
    with timing.collect() as collection:
        pass
    timing.record("encode", 2.0, 3.0)
    assert collection == []


async def test_tasks_that_begin_inside_note_into_the_same_collection() -> None:
    async def work() -> None:
        timing.record("infer", 1.0, 2.0, pictures=3)

    with timing.collect() as collection:
        await asyncio.create_task(work())
    assert collection == [Stage("infer", 1.0, 2.0, 3)]


async def test_two_requests_collect_their_own() -> None:
    async def request(name: str) -> list[Stage]:
        with timing.collect() as collection:
            await asyncio.sleep(0)
            timing.record(name, 0.0, 1.0)
            await asyncio.sleep(0)
        return collection

    one, other = await asyncio.gather(request("one"), request("other"))
    assert [[stage.name for stage in each] for each in (one, other)] == [["one"], ["other"]]


def test_stage_that_raises_is_not_recorded() -> None:
    with timing.collect() as collection:
        with timing.stage("decode"):
            pass
        with pytest.raises(ValueError, match="damaged"), timing.stage("encode"):
            raise ValueError("damaged")
    assert [each.name for each in collection] == ["decode"]


def test_outer_collection_gets_what_an_inner_one_has_and_nothing_that_is_ignored() -> None:
    with timing.collect() as outer:
        with timing.collect() as inner:
            timing.record("decode", 1.0, 2.0)
        with timing.ignore():
            timing.record("infer", 2.0, 3.0)
    assert inner == outer == [Stage("decode", 1.0, 2.0)]


def test_of_stages_side_by_side_the_longest_counts() -> None:
    stages = [Stage("infer", 1.0, 2.0), Stage("infer", 1.0, 4.0), Stage("queue", 0.0, 0.5)]
    assert timing.longest(stages) == {"infer": 3.0, "queue": 0.5}
