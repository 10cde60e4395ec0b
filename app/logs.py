"""Log records come in, one JSON object per line goes out, with the id of the request that caused it, and its trace's.

Knows no HTTP. Photos, file names and keys are never given to it.
"""

from __future__ import annotations

import json
import logging
import random
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, TextIO

from app.log_writer import PatientWriter

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
    handler = logging.StreamHandler(stream) if stream is not None else PatientWriter(_STANDARD_OUTPUT)
    handler.setFormatter(JsonFormatter(worker))
    logging.captureWarnings(True)
    # What the lines do not tell is not found out for each of them.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # As Python's Logging HOWTO says, under "Optimization".
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # At level debug Pillow tells every tag of a photo's EXIF, and photos are never logged.
    logging.getLogger("PIL").setLevel(logging.INFO)
