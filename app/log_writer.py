"""Log lines go out by a thread of their own, some at once: nobody waits for the one who reads them.

Knows how records become lines no more than any of logging's handlers does.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from typing import Final

BACKLOG_BYTES: Final = 4_000_000  # some 15,000 requests
FLUSH_S: Final = 2.0
# A line waits so long for others: to wake the thread for each one costs more than to write them.
GATHER_S: Final = 0.05

_log = logging.getLogger(__name__)


class PatientWriter(logging.Handler):
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
