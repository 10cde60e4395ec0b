"""Under a lasting flood there are fewer slots; a burst and a slow network take none away."""

from __future__ import annotations

import random
from collections import deque

import pytest

from app.middleware.concurrency_limit import OVERLOAD_LASTS_S, AdaptiveLimit


def flood(
    adaptive_limit: AdaptiveLimit, *, per_second: float, offered: float, seconds: float, body_s: float = 0.0
) -> list[float]:
    """Waits of those answered by a server of such speed, whose clients take `body_s` to send their bodies."""
    draws = random.Random(1)
    coming: deque[float] = deque()  # moments at which bodies will have come
    waiting: deque[float] = deque()
    waits, served_at, asked_at = [], 0.0, 0.0
    for step in range(int(seconds * 1000)):
        now = step / 1000
        while coming and coming[0] <= now:
            waiting.append(coming.popleft())
        while asked_at <= now:
            asked_at += draws.expovariate(offered)
            if len(coming) + len(waiting) < adaptive_limit.current:
                coming.append(now + body_s)
            else:
                adaptive_limit.record_rejection(now)
        if waiting and now >= served_at:
            served_at = now + 1 / per_second
            waits.append(now - waiting.popleft())
            adaptive_limit.record_response(now, body_s=body_s, wait_s=waits[-1])
    return waits


def test_all_slots_are_there_from_the_start() -> None:
    assert AdaptiveLimit(64, least=8, wait_s=1.0).current == 64


def test_lasting_overload_leaves_as_many_slots_as_are_served_in_the_time() -> None:
    adaptive_limit = AdaptiveLimit(64, least=8, wait_s=1.0)
    waits = flood(adaptive_limit, per_second=20, offered=200, seconds=20)
    assert 15 <= adaptive_limit.current <= 25
    assert max(waits[-100:]) < 1.3
    assert len(waits) >= 0.99 * 20 * 20  # the server never ran dry


def test_nobody_is_kept_out_when_the_bodies_are_what_takes_long() -> None:
    adaptive_limit = AdaptiveLimit(64, least=8, wait_s=0.5)
    waits = flood(adaptive_limit, per_second=20, offered=200, seconds=20, body_s=2.0)
    assert (
        len(waits) >= 0.95 * 20 * 18
    )  # with half a second's slots, ten, it would be served a quarter of that


def test_a_body_is_waited_for_as_long_as_bodies_take() -> None:
    adaptive_limit = AdaptiveLimit(64, wait_s=1.0)
    assert adaptive_limit.body_grace_s == OVERLOAD_LASTS_S
    adaptive_limit.record_response(0.0, body_s=3.0, wait_s=0.0)
    assert adaptive_limit.body_grace_s == OVERLOAD_LASTS_S + 6.0


def test_burst_that_finds_free_slots_lowers_no_limit() -> None:
    adaptive_limit = AdaptiveLimit(64, least=8, wait_s=1.0)
    for second in range(64):
        adaptive_limit.record_response(2.0 + second / 20, body_s=0.0, wait_s=2.0 + second / 20)
    assert adaptive_limit.current == 64


def test_refusals_long_ago_lower_no_limit() -> None:
    adaptive_limit = AdaptiveLimit(64, least=8, wait_s=1.0)
    adaptive_limit.record_rejection(10.0)
    for step in range(100):
        adaptive_limit.record_response(10.01 + OVERLOAD_LASTS_S + step / 100, body_s=0.0, wait_s=5.0)
    assert adaptive_limit.current == 64


def test_slots_come_back_with_quick_answers() -> None:
    adaptive_limit = AdaptiveLimit(64, least=8, wait_s=1.0)
    flood(adaptive_limit, per_second=20, offered=200, seconds=10)
    for second in range(64):
        adaptive_limit.record_response(100.0 + second, body_s=0.0, wait_s=0.1)
    assert adaptive_limit.current == 64


@pytest.mark.parametrize(("least", "left"), [(8, 8), (100, 64)])
def test_there_are_never_fewer_than_keep_the_service_busy(least: int, left: int) -> None:
    adaptive_limit = AdaptiveLimit(64, least=least, wait_s=0.001)
    flood(adaptive_limit, per_second=20, offered=200, seconds=10)
    assert adaptive_limit.current == left


def test_no_limit_to_the_wait_leaves_all_slots() -> None:
    adaptive_limit = AdaptiveLimit(64, least=8, wait_s=0.0)
    flood(adaptive_limit, per_second=20, offered=200, seconds=10)
    assert adaptive_limit.current == 64
