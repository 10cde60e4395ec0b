"""The phases of a run, without training one."""

import pytest

from training.config import PhaseConfig, TrainConfig
from training.engine.trainer import remaining_phases

SMALL, LARGE = PhaseConfig(32, 5), PhaseConfig(64, 3)
CONFIG = TrainConfig(phases=(SMALL, LARGE))


@pytest.mark.parametrize(
    ("done", "expected"),
    [(0, [(5, SMALL), (8, LARGE)]), (4, [(5, SMALL), (8, LARGE)]), (5, [(8, LARGE)]), (8, [])],
)
def test_a_resumed_run_goes_on_in_the_phase_of_its_step(done, expected):
    assert list(remaining_phases(CONFIG, done)) == expected
