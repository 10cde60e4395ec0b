"""Write log records as JSON lines, with the request's id and trace, from a thread of their own.

A blocked standard output never blocks a request. Photos, file names and keys are never logged.
"""

from __future__ import annotations

import json
import logging
import os
import random
import threading
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue
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

    `worker`: the number of this process, or the name of an inference process, where several serve one port.
    """

    def __init__(self, worker: int | str | None = None) -> None:
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


def configure_logs(level: str, stream: TextIO | None = None, *, worker: int | str | None = None) -> None:
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


BACKLOG_LINES: Final = 10_000  # some 4 MB
FLUSH_S: Final = 2.0

_log = logging.getLogger(__name__)


class QueuedLogHandler(QueueHandler):
    """Hands formatted lines to a thread, which writes them to a file descriptor. A blocked reader (a full pipe) never
    blocks a request: lines wait, up to BACKLOG_LINES. Lines beyond these, or that a full disk has no room for, are
    lost, and counted in a line of their own once writing goes on."""

    queue: Queue[logging.LogRecord]

    def __init__(self, descriptor: int) -> None:
        super().__init__(Queue(BACKLOG_LINES))
        self._writer = _DescriptorHandler(descriptor)
        self.listener = QueueListener(self.queue, self._writer)
        self.listener.start()

    def enqueue(self, record: logging.LogRecord) -> None:
        """Called by QueueHandler with the formatted record."""
        try:
            self.queue.put_nowait(record)
        except Full:
            self._writer.count_lost()

    def flush(self) -> None:
        """Wait until all is written, for at most FLUSH_S. Called by `logging` at the end of the process."""
        with self.queue.all_tasks_done:
            self.queue.all_tasks_done.wait_for(lambda: not self.queue.unfinished_tasks, FLUSH_S)


class _DescriptorHandler(logging.Handler):
    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lost = 0
        self._counting = threading.Lock()  # The handler's own is held while a reader blocks.

    def count_lost(self) -> None:
        """One more line is lost."""
        with self._counting:
            self._lost += 1

    def emit(self, record: logging.LogRecord) -> None:
        # By the descriptor: at exit, Python's own buffer would be locked by the thread that waits in it.
        rest = memoryview((record.getMessage() + "\n").encode("utf-8", "backslashreplace"))
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            self.count_lost()
            return
        with self._counting:
            lost, self._lost = self._lost, 0
        if lost:
            _log.warning("%d log lines were lost: nobody read them, or there was no room", lost)


def keep_standard_descriptors() -> None:
    """Open /dev/null for each of standard input, output and error that is closed: the next file or socket would get
    its number, and what is written to it would go to a client."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
