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
    monkeypatch.setattr(logs, "BACKLOG_BYTES", 20_000)
    logger = _patient(pipe[1])
    for number in range(1_000):
        logger.info("line %d", number)
    (handler,) = logger.handlers
    written = _read(pipe[0], 'line 0"')
    while handler._backlog:
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
        assert logger.handlers[0]._lost == 1


def test_lines_that_come_together_go_out_in_pieces_that_no_other_writer_divides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "GATHER_S", 3_600)  # The test writes instead of the thread.
    reading, writing = os.pipe2(os.O_DIRECT)  # Here, each read gives what one write wrote.
    logger = _patient(writing)
    for number in range(100):
        logger.info("line %d", number)
    logger.info("x" * 2 * select.PIPE_BUF)
    (handler,) = logger.handlers
    pieces = []
    while handler._lines:
        handler._write_some()
        pieces.append(os.read(reading, 65_536))
    assert b"".join(pieces[:-1]).count(b"\n") == 100
    assert len(pieces) < 20
    assert all(len(piece) <= select.PIPE_BUF and piece.endswith(b"\n") for piece in pieces[:-1])
    os.close(reading)
    os.close(writing)
