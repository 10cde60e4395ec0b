"""Phases and rates of a run, without training one."""

import pytest

from training.config import PhaseConfig, TrainConfig
from training.loop import remaining_phases
from training.schedule import learning_rate

SMALL, LARGE = PhaseConfig(32, 5), PhaseConfig(64, 3)
CONFIG = TrainConfig(phases=(SMALL, LARGE), learning_rate=0.5, warmup_steps=2)


@pytest.mark.parametrize(
    ("done", "expected"),
    [(0, [(5, SMALL), (8, LARGE)]), (4, [(5, SMALL), (8, LARGE)]), (5, [(8, LARGE)]), (8, [])],
)
def test_a_resumed_run_goes_on_in_the_phase_of_its_step(done, expected):
    assert list(remaining_phases(CONFIG, done)) == expected


def test_the_rate_warms_up_then_falls_to_a_hundredth():
    rates = [float(learning_rate(CONFIG, step)) for step in range(9)]
    assert rates[0] == pytest.approx(0.05)
    assert rates[2] == max(rates) == pytest.approx(0.5)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[5] == pytest.approx(0.5 * (0.01 + 0.99 / 2))
    assert rates[8] == pytest.approx(0.005)
