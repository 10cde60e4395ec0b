"""A thread pool for work on pixels that keeps the caller's context and counts waiting work.

`asyncio` runs work in threads without the context of the calling task, so log lines written there would lack the
request's id. Knows no photos and no queue but its own.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Final, ParamSpec, TypeVar

NICENESS: Final = 5
P = ParamSpec("P")
T = TypeVar("T")


def lower_priority() -> None:
    """Let the calling thread give way to the event loop's thread, which has little to do and answers every request.
    Linux has a niceness per thread, which decides among the threads of one container."""
    thread = threading.get_native_id()
    # If the process is nicer already, only root may lower the niceness of a thread.
    os.setpriority(os.PRIO_PROCESS, thread, max(NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))


class ContextThreadPool(ThreadPoolExecutor):
    """A pool of `threads`; calls `observe_wait` with the seconds that each piece of work waited for a thread."""

    def __init__(self, threads: int, name: str, observe_wait: Callable[[float], None]) -> None:
        super().__init__(threads, name, initializer=lower_priority)
        self._observe_wait = observe_wait
        self._lock = threading.Lock()
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Pieces of work that no thread has started."""
        return self._waiting

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Submit work as executors do, to run in the context of the caller."""
        context, submitted_at = copy_context(), time.perf_counter()

        def run() -> T:
            self._count(-1)
            self._observe_wait(time.perf_counter() - submitted_at)
            return context.run(work, *args, **kwargs)

        self._count(1)
        future = super().submit(run)
        future.add_done_callback(self._on_done)
        return future

    def _on_done(self, future: Future[T]) -> None:
        if future.cancelled():
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._lock:
            self._waiting += change
