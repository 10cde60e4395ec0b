"""The watchdog, its thread's pauses given by hand: 20 make up the time after which a step is late."""

from __future__ import annotations

import asyncio
import logging
import os
import threading

import pytest

from app.concurrency.watchdog import STATUS, Watchdog
from tests.support.images import plain, png
from tests.support.networks import Gate
from tests.support.services import Running, until

STUCK_AFTER_S = 30.0
TICKS = 20


class Watched:
    """A watchdog with one pool, and what it calls."""

    def __init__(self, enough: int = 1) -> None:
        self.ends: list[str] = []
        self.dog = Watchdog(STUCK_AFTER_S, self.ends.append)
        self.pool = self.dog.pool("A batch has been running", enough)

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.dog.tick()


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_step_that_ends_in_time_is_not_stuck(watched: Watched) -> None:
    for _ in range(5):
        with watched.pool.step():
            watched.tick(TICKS - 1)
            assert not watched.dog.stuck
        watched.tick()
    assert watched.dog.idle
    assert not watched.ends


def test_late_step_is_stuck_until_it_ends_and_says_for_how_long(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    with watched.pool.step():
        watched.tick(TICKS)
        assert watched.dog.stuck == "A batch has been running for 30 s."
        watched.tick(10)
        assert watched.dog.stuck == "A batch has been running for 45 s."
        assert watched.dog.oldest_s(watched.pool) == pytest.approx(45)
    watched.tick()
    assert not watched.dog.stuck
    assert not watched.ends
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]


def test_step_that_is_late_for_twice_the_time_ends_the_process(watched: Watched) -> None:
    with watched.pool.step():
        watched.tick(2 * TICKS - 1)
        assert not watched.ends
        watched.tick()
    assert watched.ends == ["A batch has been running for 60 s."]


def test_where_several_threads_do_the_same_one_late_step_alone_is_not_stuck() -> None:
    watched = Watched(enough=2)
    with watched.pool.step():
        watched.tick(5 * TICKS)
        assert not watched.dog.stuck
        assert watched.dog.oldest_s(watched.pool) == pytest.approx(5 * STUCK_AFTER_S)
        with watched.pool.step():
            watched.tick(TICKS)
            assert watched.dog.stuck == "A batch has been running for 30 s."


async def test_loop_is_told_of_the_hang_once_and_then_again_and_again(watched: Watched) -> None:
    told: list[str] = []
    watched.dog.start(lambda: told.append("stuck"), lambda: told.append("still"))
    watched.dog.stop()  # The thread: the ticks come from here.
    with watched.pool.step():
        watched.tick(TICKS + 2)
        await asyncio.sleep(0)
    assert told == ["stuck", "still", "still", "still"]


async def test_loop_that_answers_is_left_alone_and_one_that_does_not_ends_the_process(
    watched: Watched,
) -> None:
    watched.dog.start(lambda: None, lambda: None)
    watched.dog.stop()
    for _ in range(10 * TICKS):
        watched.tick()
        await asyncio.sleep(0)
    assert not watched.ends
    watched.tick(4 * TICKS - 1)
    assert not watched.ends
    watched.tick()
    assert watched.ends == ["The event loop has not answered for 120 s."]


def test_loop_that_has_ended_is_no_loop_that_hangs(watched: Watched) -> None:
    async def begin() -> None:
        watched.dog.start(lambda: None, lambda: None)
        watched.dog.stop()

    asyncio.run(begin())
    with watched.pool.step():
        watched.tick(2 * TICKS - 1)
    watched.tick(10 * TICKS)
    assert not watched.ends


async def test_its_thread_counts_and_ends_when_it_is_stopped() -> None:
    ends: list[str] = []
    dog = Watchdog(0.02, ends.append)
    pool = dog.pool("It has been running", 1)
    before = set(threading.enumerate())
    dog.start(lambda: None, lambda: None)
    (thread,) = set(threading.enumerate()) - before
    with pool.step():
        await until(lambda: bool(ends))
    dog.stop()
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()


async def test_service_whose_batch_hangs_is_red_tells_who_waits_and_is_green_again(
    running: Running, gate: Gate
) -> None:
    async with running(gate, stuck_after_ms=2_000, lanes=1) as service:
        watchdog = service.app.state.pipeline._watchdog
        watchdog.stop()  # Its thread: the ticks come from here, and two tickers would race.
        inside = [asyncio.ensure_future(service.post(png(plain(9)))) for _ in range(3)]
        await asyncio.to_thread(gate.entered.wait, 10)
        while not watchdog.stuck:
            watchdog.tick()
        refused = await service.client.get("/readyz")
        assert refused.status_code == 503
        assert "A batch has been running for 2" in refused.json()["errors"][0]["detail"]
        assert (await service.client.get("/healthz")).status_code == 200
        assert (await service.post(png(plain(9)))).status_code == 503
        assert await service.metric('matte_oldest_step_seconds{step="batch"}') >= 2
        answers = await asyncio.gather(*inside)
        assert [answer.json()["errors"][0]["code"] for answer in answers] == ["not_ready"] * 3
        assert "waited for too long" in answers[0].text
        gate.opened.set()
        await until(lambda: not watchdog._pools[0].ages())
        watchdog.tick()
        assert (await service.client.get("/readyz")).status_code == 200
        assert (await service.post(png(plain(9)))).status_code == 200
        assert await service.metric("matte_stuck_total") == 1


async def test_photo_that_came_when_the_hang_had_begun_has_its_own_patience(
    running: Running, gate: Gate
) -> None:
    async with running(gate, stuck_after_ms=2_000, lanes=1) as service:
        watchdog = service.app.state.pipeline._watchdog
        watchdog.stop()  # Its thread: the ticks come from here, and two tickers would race.
        first = asyncio.ensure_future(service.post(png(plain(9))))
        await asyncio.to_thread(gate.entered.wait, 10)
        for _ in range(TICKS // 2):
            watchdog.tick()
        later = asyncio.ensure_future(service.post(png(plain(9))))
        while not watchdog.stuck:
            watchdog.tick()
            await asyncio.sleep(0)
        assert (await first).status_code == 503
        assert not later.done()
        gate.opened.set()
        assert (await later).status_code == 200


def test_end_of_the_process_has_the_status_for_software_errors() -> None:
    assert STATUS == os.EX_SOFTWARE == 70
