"""A failed attempt comes in, the wait before the next one goes out, or that there is none. Knows no connection."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final

from app.client.errors import CallError

OnRetry = Callable[[CallError, float], None]
"""Hears, before each further attempt, what went wrong and how many seconds it will be until then."""

_DOUBLINGS_MAX: Final = 30  # Beyond it every pause is the longest one anyway.


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and for how long in all, a call is tried.

    Pauses start at `first_pause_s` and double up to `longest_pause_s`; each is shortened by up to half, by chance, so
    that clients refused together do not come back together. A Retry-After is waited for in full, and the pause on
    top of it. No attempt begins after `deadline_s`, and none waits for a byte beyond it.
    """

    attempts: int = 5
    deadline_s: float = 120.0
    first_pause_s: float = 0.5
    longest_pause_s: float = 15.0

    def pause_s(self, problem: CallError, *, made: int, passed_s: float, chance: float) -> float | None:
        """Seconds to wait after `made` attempts and `passed_s` seconds; None to give up. `chance` is in 0..1."""
        if not problem.again or made >= self.attempts:
            return None
        longest = min(self.longest_pause_s, self.first_pause_s * 2.0 ** min(made - 1, _DOUBLINGS_MAX))
        pause_s = (problem.retry_after_s or 0.0) + longest * (1 - chance / 2)
        return pause_s if passed_s + pause_s < self.deadline_s else None


class RetryState:
    """The attempts of one call, counted and timed."""

    def __init__(self, retry: RetryPolicy, on_retry: OnRetry | None) -> None:
        self._retry = retry
        self._on_retry = on_retry
        self._began = monotonic()
        self._made = 0

    def begin(self) -> float:
        """Count one more; returns the seconds that it may take."""
        self._made += 1
        return max(self._began + self._retry.deadline_s - monotonic(), 0.001)

    def pause_s(self, problem: CallError) -> float | None:
        """Seconds to wait before the next one; None to give up."""
        passed_s = monotonic() - self._began
        chance = random.random()
        pause_s = self._retry.pause_s(problem, made=self._made, passed_s=passed_s, chance=chance)
        if pause_s is not None and self._on_retry is not None:
            self._on_retry(problem, pause_s)
        return pause_s
