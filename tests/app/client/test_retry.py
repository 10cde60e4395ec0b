"""When the client tries again, and after how long."""

from __future__ import annotations

import pytest

from app.client.errors import Busy, Disconnected, Refused
from app.client.retry import RetryPolicy, RetryState

PATIENCE = RetryPolicy(attempts=4, deadline_s=100, first_pause_s=1, longest_pause_s=3)


def pause_s(problem, *, made=1, passed_s=0.0, chance=0.0, retry=PATIENCE):
    return retry.pause_s(problem, made=made, passed_s=passed_s, chance=chance)


def test_pauses_double_up_to_the_longest():
    problem = Disconnected("gone", again=True)
    assert [pause_s(problem, made=made) for made in (1, 2, 3)] == [1, 2, 3]


def test_chance_shortens_a_pause_by_up_to_half():
    problem = Disconnected("gone", again=True)
    assert pause_s(problem, chance=1.0) == 0.5
    assert 0.5 < pause_s(problem, chance=0.5) < 1


def test_retry_after_is_waited_for_in_full_and_then_some():
    problem = Busy("full", again=True, retry_after_s=7)
    assert pause_s(problem, chance=1.0) == 7.5


def test_attempts_are_bounded():
    problem = Disconnected("gone", again=True)
    assert pause_s(problem, made=3) is not None
    assert pause_s(problem, made=4) is None


def test_pause_that_would_end_after_the_deadline_is_not_begun():
    problem = Busy("full", again=True, retry_after_s=7)
    assert pause_s(problem, passed_s=91) == 8
    assert pause_s(problem, passed_s=92) is None


def test_what_would_fail_again_is_not_tried_again():
    assert pause_s(Refused("bad photo")) is None


def test_thousandth_attempt_still_has_a_pause():
    retry = RetryPolicy(attempts=5_000, longest_pause_s=3)
    assert pause_s(Disconnected("gone", again=True), made=4_000, retry=retry) == 3


def test_attempts_are_counted_and_told():
    told = []
    attempts = RetryState(RetryPolicy(attempts=2, first_pause_s=0), lambda *what: told.append(what))
    problem = Disconnected("gone", again=True)
    assert attempts.begin() == pytest.approx(120, abs=60)
    assert attempts.pause_s(problem) == 0
    attempts.begin()
    assert attempts.pause_s(problem) is None
    assert told == [(problem, 0)]
