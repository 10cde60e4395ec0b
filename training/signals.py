"""SIGINT and SIGTERM as a question that a loop asks between two steps."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """A question that turns true after SIGINT or SIGTERM; a second signal acts at once."""
    received: list[float] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        received.append(time.monotonic())
        for each, handler in previous.items():
            signal.signal(each, handler)

    previous = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
