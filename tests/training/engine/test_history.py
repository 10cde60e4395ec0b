"""A run's history survives a crash without rows of steps that were undone."""

import math

import cv2
import pytest

from training.engine.history import History, plot_history, read_history


def row(mad):
    return {"MAD": mad, "mIoU": 1 - mad}


def test_rows_are_written_as_they_come_and_the_best_is_told(tmp_path):
    history = History(tmp_path / "history.csv", up_to_step=0)
    assert [history.add(step, 64, 1.0, row(mad), 0.1) for step, mad in ((1, 0.5), (2, 0.6), (3, 0.4))] == [
        True,
        False,
        True,
    ]
    rows = read_history(tmp_path / "history.csv")
    assert [(r["step"], r["MAD"]) for r in rows] == [(1, 0.5), (2, 0.6), (3, 0.4)]


def test_a_resumed_run_drops_later_rows_and_remembers_the_best(tmp_path):
    history = History(tmp_path / "history.csv", up_to_step=0)
    for step, mad in ((1, 0.3), (2, 0.5), (3, 0.1)):
        history.add(step, 64, 1.0, row(mad), 0.1)
    resumed = History(tmp_path / "history.csv", up_to_step=2)
    assert resumed.add(3, 64, 1.0, row(0.4), 0.1) is False
    assert [r["step"] for r in read_history(tmp_path / "history.csv")] == [1, 2, 3]


def test_a_larger_size_begins_its_own_best(tmp_path):
    history = History(tmp_path / "history.csv", up_to_step=0)
    assert history.add(1, 64, 1.0, row(0.3), 0.1)
    assert history.add(2, 96, 1.0, row(0.4), 0.1)
    assert not history.add(3, 96, 1.0, row(0.5), 0.1)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_validation_that_is_not_finite_is_never_the_best_and_hides_no_later_one(tmp_path, broken):
    history = History(tmp_path / "history.csv", up_to_step=0)
    mads = (broken, 0.5, broken, 0.6, 0.4)
    bests = [history.add(step, 64, 1.0, row(mad), 0.1) for step, mad in enumerate(mads, 1)]
    assert bests == [False, True, False, False, True]
    resumed = History(tmp_path / "history.csv", up_to_step=1)
    assert resumed.add(2, 64, 1.0, row(0.7), 0.1)


def test_no_file_is_no_rows(tmp_path):
    assert read_history(tmp_path / "none.csv") == []


def test_curves_are_drawn_also_of_a_single_validation(tmp_path):
    row = {"step": 5.0, "input_size": 32.0, "loss": 1.0, "learning_rate": 0.1, "MAD": 0.4, "mIoU": 0.3}
    for rows in ([row], [row, {**row, "step": 9.0, "input_size": 64.0, "MAD": 0.2}]):
        plot_history(rows, tmp_path / "curves.png")
        picture = cv2.imread(str(tmp_path / "curves.png"))
        assert picture.shape[0] > 500
        assert picture.std() > 10


@pytest.mark.parametrize("mads", [(math.nan, 0.4, 0.3), (math.nan, math.nan, math.nan)])
def test_curves_have_a_gap_where_a_validation_was_not_finite(tmp_path, mads):
    rows = [
        {"step": float(i), "input_size": 32.0, "loss": 1.0, "learning_rate": 0.1, "MAD": mad, "mIoU": 1 - mad}
        for i, mad in enumerate(mads)
    ]
    plot_history(rows, tmp_path / "curves.png")
    assert cv2.imread(str(tmp_path / "curves.png")).std() > 10
