"""Write log records as JSON lines, with the request's id and trace, from a thread of their own.

A blocked standard output never blocks a request. Photos, file names and keys are never logged.
"""

from __future__ import annotations

import json
import logging
import os
import random
import select
import threading
import time
from collections import deque
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, TextIO

request_id: Final[ContextVar[str]] = ContextVar("request_id", default="")
"""Id of the request that the current task works for; empty outside of any."""

trace_id: Final[ContextVar[str]] = ContextVar("trace_id", default="")
"""Id of that request's trace, 32 hexadecimal digits; empty where nothing is traced."""


_STANDARD_OUTPUT: Final = 1
_TO_JSON: Final = json.JSONEncoder(default=str, ensure_ascii=False).encode
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "color_message",
    "taskName",
}


def new_id() -> str:
    """32 hexadecimal digits. No secret: to ask the system for those takes longer."""
    return f"{random.getrandbits(128):032x}"


class JsonFormatter(logging.Formatter):
    """Time (UTC), level, logger, message, worker, request_id, trace_id, and whatever `extra` a call gave.

    `worker`: the number of this process, where several serve one port.
    """

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._worker is not None:
            line["worker"] = self._worker
        if identity := request_id.get():
            line["request_id"] = identity
        if trace := trace_id.get():
            line["trace_id"] = trace
        line.update((key, value) for key, value in vars(record).items() if key not in _STANDARD)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _TO_JSON(line)


def configure_logs(level: str, stream: TextIO | None = None, *, worker: int | None = None) -> None:
    """Send every logger, and Python's warnings, as JSON lines to `stream`, or without waits to standard output."""
    handler = logging.StreamHandler(stream) if stream is not None else QueuedLogHandler(_STANDARD_OUTPUT)
    handler.setFormatter(JsonFormatter(worker))
    logging.captureWarnings(True)
    # What the lines do not tell is not found out for each of them.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # As Python's Logging HOWTO says, under "Optimization".
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # At level debug Pillow tells every tag of a photo's EXIF, and photos are never logged.
    logging.getLogger("PIL").setLevel(logging.INFO)


BACKLOG_BYTES: Final = 4_000_000  # some 15,000 requests
FLUSH_S: Final = 2.0
# A line waits so long for others: to wake the thread for each one costs more than to write them.
GATHER_S: Final = 0.05

_log = logging.getLogger(__name__)


class QueuedLogHandler(logging.Handler):
    """Writes to a file descriptor. Where its reader has stopped (a full pipe), lines wait up to BACKLOG_BYTES; what
    there is no room for then, or on a full disk, is lost, and counted in a line of its own once it goes on."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._backlog = 0  # in bytes, with the line that is being written
        self._lost = 0
        self._idle = False  # The thread waits to be told of a line, and does not look by itself.
        self._changed = threading.Condition()
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Called by `logging`."""
        try:
            line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
        except (TypeError, ValueError):
            self.handleError(record)  # The call was wrong; as all of logging's handlers do.
            return
        with self._changed:
            if self._backlog + len(line) > BACKLOG_BYTES:
                self._lost += 1
                return
            self._lines.append(line)
            self._backlog += len(line)
            if self._idle:
                self._changed.notify_all()

    def flush(self) -> None:
        """Wait until all is written, for at most FLUSH_S. Called by `logging` at the end of the process."""
        with self._changed:
            self._changed.wait_for(lambda: not self._backlog, FLUSH_S)

    def _write(self) -> None:
        while True:
            with self._changed:
                self._idle = True
                self._changed.wait_for(lambda: self._lines)
                self._idle = False
            time.sleep(GATHER_S)
            while self._lines:
                while self._lines:
                    self._write_some()
                time.sleep(GATHER_S)  # Whoever has a line meanwhile need not wake this thread.

    def _write_some(self) -> None:
        lines = self._gathered()
        whole = b"".join(lines)
        written = self._write_all(whole)
        with self._changed:
            self._backlog -= len(whole)
            self._lost += 0 if written else len(lines)
            lost, self._lost = (self._lost, 0) if written else (0, self._lost)
            self._changed.notify_all()
        if lost:
            _log.warning("%d log lines were lost: nobody read them, or there was no room", lost)

    def _gathered(self) -> list[bytes]:
        """As many lines as a pipe takes in one piece, at least one: other processes may write to it, too."""
        lines, room = [self._lines.popleft()], select.PIPE_BUF
        while self._lines and len(self._lines[0]) <= (room := room - len(lines[-1])):
            lines.append(self._lines.popleft())
        return lines

    def _write_all(self, lines: bytes) -> bool:
        # By the descriptor: Python's own buffer would be locked at exit by the thread that waits in it.
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            return False
        return True


def keep_standard_descriptors() -> None:
    """Open /dev/null for each of standard input, output and error that is closed: the next file or socket would get
    its number, and what is written to it would go to a client."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
