from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from app.concurrency.executor import NICENESS, ContextThreadPool
from app.observability.logs import request_id
from tests.support.servers import ROOT


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def one_thread(waits: list[float]) -> Iterator[ContextThreadPool]:
    with ContextThreadPool(1, "test", waits.append) as workers:
        yield workers


async def test_work_knows_the_request_that_asked_for_it(one_thread: ContextThreadPool) -> None:
    loop = asyncio.get_running_loop()

    async def request(identity: str) -> str:
        request_id.set(identity)
        return await loop.run_in_executor(one_thread, request_id.get)

    assert await asyncio.gather(request("a"), request("b")) == ["a", "b"]
    assert await loop.run_in_executor(one_thread, request_id.get) == ""


def test_waiting_work_is_counted_until_a_thread_begins_it(
    one_thread: ContextThreadPool, waits: list[float]
) -> None:
    entered, opened = threading.Event(), threading.Event()

    def hold() -> bool:
        entered.set()
        return opened.wait(30)

    first = one_thread.submit(hold)
    assert entered.wait(30)
    second, third = one_thread.submit(int, "2"), one_thread.submit(int, "3")
    assert one_thread.waiting == 2
    assert third.cancel()
    assert one_thread.waiting == 1
    opened.set()
    assert (first.result(30), second.result(30)) == (True, 2)
    assert one_thread.waiting == 0
    assert len(waits) == 2
    assert all(seconds >= 0 for seconds in waits)


def test_failed_work_raises_where_it_is_awaited(one_thread: ContextThreadPool) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        one_thread.submit(int, "x").result(30)
    assert one_thread.waiting == 0


def test_work_that_is_thrown_away_at_the_end_waits_no_more(waits: list[float]) -> None:
    entered, opened = threading.Event(), threading.Event()
    workers = ContextThreadPool(1, "test", waits.append)

    def hold() -> None:
        entered.set()
        assert opened.wait(30)

    workers.submit(hold)
    assert entered.wait(30)
    workers.submit(int)
    workers.shutdown(wait=False, cancel_futures=True)
    assert workers.waiting == 0
    opened.set()
    workers.shutdown()


def test_threads_that_compute_give_way_to_the_one_that_answers(one_thread: ContextThreadPool) -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert one_thread.submit(niceness).result() == min(19, max(niceness(), NICENESS))


def test_process_that_is_nicer_already_keeps_its_niceness() -> None:
    """Nobody but root may take niceness back, and a pool whose threads fail to start does no work at all."""
    program = """
import os
from app.concurrency.executor import ContextThreadPool
os.nice(10)
os.getuid() or os.setuid(65534)
print(ContextThreadPool(1, "test", lambda _: None).submit(os.getpriority, os.PRIO_PROCESS, 0).result())
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(ended.stdout) >= 10
