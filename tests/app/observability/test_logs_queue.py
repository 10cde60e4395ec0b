from __future__ import annotations

import fcntl
import json
import logging
import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.observability import logs
from app.observability.logs import JsonFormatter, QueuedLogHandler


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """(to read, to write), with room for one page."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4_096)
    yield reading, writing
    os.close(reading)
    os.close(writing)


def _patient(writing: int) -> logging.Logger:
    handler = QueuedLogHandler(writing)
    handler.setFormatter(JsonFormatter())
    logger = logging.Logger("patient")
    logger.addHandler(handler)
    return logger


def _read(reading: int, until: str) -> list[str]:
    text = ""
    while until not in text:
        text += os.read(reading, 65_536).decode()
    return [json.loads(line)["message"] for line in text.splitlines()]


def test_lines_wait_for_a_reader_that_has_stopped_in_their_order(pipe: tuple[int, int]) -> None:
    logger = _patient(pipe[1])
    for number in range(200):
        logger.info("line %d with an odd letter: \udc80", number)
    logger.info("last")
    assert _read(pipe[0], "last") == [f"line {n} with an odd letter: \udc80" for n in range(200)] + ["last"]


def test_lines_that_there_is_no_room_for_are_lost_and_counted(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logs, "BACKLOG_LINES", 100)
    logger = _patient(pipe[1])
    for number in range(1_000):
        logger.info("line %d", number)
    (handler,) = logger.handlers
    written = _read(pipe[0], 'line 0"')
    while handler.queue.unfinished_tasks:
        if not select.select([pipe[0]], [], [], 0.05)[0]:  # All has been read; the last is not counted yet.
            continue
        written += [json.loads(line)["message"] for line in os.read(pipe[0], 65_536).decode().splitlines()]
    logger.info("last")
    written += _read(pipe[0], "last")
    handler.flush()
    lost = sum(int(record.args[0]) for record in caplog.records if "were lost" in record.msg)
    assert lost > 500
    assert len(written) + lost == 1_001


def test_no_room_to_write_to_is_no_error() -> None:
    with Path("/dev/full").open("wb") as full:
        logger = _patient(full.fileno())
        logger.info("lost")
        logger.handlers[0].flush()
        assert logger.handlers[0]._writer._lost == 1
