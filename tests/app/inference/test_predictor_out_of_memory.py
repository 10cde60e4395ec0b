from __future__ import annotations

import cv2
import numpy as np
import pytest

from app.errors import OutOfMemory
from app.inference.predictor import RETRY_AFTER, BatchSizeBackoff, memory_errors


def test_half_is_taken_after_memory_ran_out_and_more_again_after_many_good_batches() -> None:
    room = BatchSizeBackoff((1, 2, 4, 6))
    assert room.limit == 6
    assert room.failed(6)
    assert room.limit == 2
    for _ in range(RETRY_AFTER - 1):
        room.succeeded()
    assert room.limit == 2
    room.succeeded()
    assert room.limit == 4
    for _ in range(3 * RETRY_AFTER):
        room.succeeded()
    assert room.limit == 6


def test_a_batch_that_fails_starts_the_count_anew() -> None:
    room = BatchSizeBackoff((1, 2, 4))
    room.failed(4)
    for _ in range(RETRY_AFTER - 1):
        room.succeeded()
    assert room.failed(2)
    room.succeeded()
    assert room.limit == 1


def test_lanes_that_fail_together_halve_once() -> None:
    room = BatchSizeBackoff((1, 2, 4, 8))
    assert room.failed(8)
    assert room.failed(8)
    assert room.limit == 4


def test_nothing_is_smaller_than_one_picture() -> None:
    room = BatchSizeBackoff((1, 2))
    assert not room.failed(1)


def _no_memory_in_opencv() -> None:
    cv2.resize(np.zeros((1, 1), np.uint8), (2**31 - 1, 2**31 - 1))


def _no_memory_in_numpy() -> None:
    np.zeros(2**60, np.uint8)


@pytest.mark.parametrize("fail", [_no_memory_in_opencv, _no_memory_in_numpy])
def test_every_library_says_in_its_way_that_memory_is_too_short(fail) -> None:
    counted: list[None] = []
    with pytest.raises(OutOfMemory), memory_errors(lambda: counted.append(None)):
        fail()
    assert len(counted) == 1


def test_other_errors_of_opencv_are_no_lack_of_memory() -> None:
    with pytest.raises(cv2.error), memory_errors(pytest.fail):
        cv2.resize(np.zeros((0, 0), np.uint8), (1, 1))
