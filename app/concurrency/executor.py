"""Threads for work on pixels: they know which request they work for, and how much work waits for them.

`asyncio` hands work to threads without the context of the task that asks for it; log lines written there would lack
their request's id. Knows no photo and no queue but its own.
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
    """Let the calling thread wait for the one that answers: it has little to do, and is all that others see of the
    service. Linux has niceness for each thread, and among the threads of one container it decides."""
    thread = threading.get_native_id()
    # Of a process that is nicer already, only root might make a thread less so.
    os.setpriority(os.PRIO_PROCESS, thread, max(NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))


class ContextThreadPool(ThreadPoolExecutor):
    """A pool of `threads`; `waited` is told of each piece of work how many seconds it waited for one of them."""

    def __init__(self, threads: int, name: str, waited: Callable[[float], None]) -> None:
        super().__init__(threads, name, initializer=lower_priority)
        self._waited = waited
        self._lock = threading.Lock()
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Pieces of work that no thread has begun."""
        return self._waiting

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As an executor does, in the context of the caller."""
        context, since = copy_context(), time.perf_counter()

        def begin() -> T:
            self._count(-1)
            self._waited(time.perf_counter() - since)
            return context.run(work, *args, **kwargs)

        self._count(1)
        future = super().submit(begin)
        future.add_done_callback(self._withdrawn)
        return future

    def _withdrawn(self, future: Future[T]) -> None:
        if future.cancelled():
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._lock:
            self._waiting += change
