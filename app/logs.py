"""Log records come in, one JSON object per line goes out, with the id of the request that caused it.

Knows no HTTP. Photos, file names and keys are never given to it.
"""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, TextIO

request_id: Final[ContextVar[str]] = ContextVar("request_id", default="")
"""Id of the request that the current task works for; empty outside of any."""

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "color_message",
    "taskName",
}


class JsonFormatter(logging.Formatter):
    """Time (UTC), level, logger, message, request_id, and whatever `extra` a call gave."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if identity := request_id.get():
            line["request_id"] = identity
        line.update((key, value) for key, value in vars(record).items() if key not in _STANDARD)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure_logs(level: str, stream: TextIO | None = None) -> None:
    """Send every logger, and Python's warnings, as JSON lines to `stream` (by default standard output)."""
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.captureWarnings(True)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # At level debug Pillow tells every tag of a photo's EXIF, and photos are never logged.
    logging.getLogger("PIL").setLevel(logging.INFO)
