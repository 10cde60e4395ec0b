from __future__ import annotations

import pytest

from app.observability import metrics


class Clock:
    """Time that passes when somebody sleeps, `late` seconds more than asked for."""

    def __init__(self, late: list[float]) -> None:
        self.now = 0.0
        self._late = late

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds + self._late.pop(0)


async def test_lateness_is_told_each_time() -> None:
    told: list[float] = []
    clock = Clock([0.0, 1.5, 0.25])
    with pytest.raises(IndexError):
        await metrics.measure_loop_lag(told.append, clock=clock, sleep=clock.sleep)
    assert told == pytest.approx([0.0, 1.5, 0.25])


async def test_early_is_not_late() -> None:
    told: list[float] = []
    clock = Clock([-0.1])
    with pytest.raises(IndexError):
        await metrics.measure_loop_lag(told.append, clock=clock, sleep=clock.sleep)
    assert told == [0.0]
