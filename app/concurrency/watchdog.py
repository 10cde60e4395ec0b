"""A watchdog: time the steps of work in threads, report those that hang, and end the process in the last resort.

A thread that hangs in a C library cannot be ended, only abandoned. So a hang has three stages:

    late for `stuck_after_s`     `stuck` says so: no new work is accepted, requests that waited as long are aborted
    late for twice that          the process ends with status 70, to be restarted
    it ends by itself            `stuck` is empty again

The event loop is watched as well: if it does not respond for four times `stuck_after_s`, the process ends, too. Time
is not read from a clock but counted in ticks of the watchdog's own thread: while the machine is suspended or the
process stopped, nothing is counted, and no jump of a clock makes a step late. Knows no pictures and no HTTP.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

STATUS: Final = os.EX_SOFTWARE  # 70
_TICKS: Final = 20  # per `stuck_after_s`: a hang is detected at most a twentieth of it late
_END_AFTER: Final = 2  # times `stuck_after_s`
_LOOP_DEAD_AFTER: Final = 4  # times `stuck_after_s`
_TRACEBACK_S: Final = 5  # then the kernel ends the process, in case writing the tracebacks blocks

_log = logging.getLogger(__name__)


class Steps:
    """The running steps of a pool of threads. The pool is stuck when `enough` of them are late."""

    def __init__(self, sentence: str, enough: int, now: Callable[[], int]) -> None:
        self.sentence = sentence
        self._enough = enough
        self._now = now
        self._lock = threading.Lock()
        self._since: dict[object, int] = {}

    @contextmanager
    def step(self) -> Iterator[None]:
        """Time what the calling thread does in the context."""
        token = object()
        with self._lock:
            self._since[token] = self._now()
        try:
            yield
        finally:
            with self._lock:
                del self._since[token]

    def ages(self) -> list[int]:
        """Ages of the running steps, in ticks, the oldest first."""
        with self._lock:
            since = sorted(self._since.values())
        return [self._now() - each for each in since]

    def age(self) -> int:
        """For how many ticks `enough` steps have been running."""
        ages = self.ages()
        return ages[self._enough - 1] if len(ages) >= self._enough else 0


class Watchdog:
    """Watch pools of steps, from `start` on. `end` ends the process; it gets the reason."""

    def __init__(self, stuck_after_s: float, end: Callable[[str], None] | None = None) -> None:
        self._tick_s = stuck_after_s / _TICKS
        self._end = end or end_process
        self._pools: list[Steps] = []
        self._ticks = 0
        self._stuck: Steps | None = None
        self._loop_alive_at = 0
        self._loop_probed = False
        self._stopped = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_stuck: Callable[[], None] = lambda: None
        self._while_stuck: Callable[[], None] = lambda: None

    def pool(self, sentence: str, enough: int) -> Steps:
        """Register a pool to watch. `sentence` describes what is stuck, as in "A batch has been running"."""
        self._pools.append(Steps(sentence, enough, lambda: self._ticks))
        return self._pools[-1]

    def start(self, on_stuck: Callable[[], None], while_stuck: Callable[[], None]) -> None:
        """Watch the pools and the running event loop from now on. `on_stuck` is called in the loop once per hang,
        `while_stuck` repeatedly until the hang ends. Call it once."""
        self._loop = asyncio.get_running_loop()
        self._on_stuck, self._while_stuck = on_stuck, while_stuck
        self._loop_alive_at = self._ticks
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()

    @property
    def now_s(self) -> float:
        """Seconds counted so far."""
        return self._ticks * self._tick_s

    @property
    def stuck_after_s(self) -> float:
        """Seconds after which a step is late."""
        return _TICKS * self._tick_s

    @property
    def stuck(self) -> str:
        """What is stuck, in a sentence; empty if nothing is."""
        steps = self._stuck
        return f"{steps.sentence} for {steps.age() * self._tick_s:.3g} s." if steps else ""

    def oldest_s(self, steps: Steps) -> float:
        """Age of the pool's oldest step in seconds, 0 if it is idle."""
        return max(steps.ages(), default=0) * self._tick_s

    @property
    def idle(self) -> bool:
        """Whether no step is running."""
        return not any(steps.ages() for steps in self._pools)

    def tick(self) -> None:
        """Count a twentieth of `stuck_after_s`, and check the pools and the loop."""
        self._ticks += 1
        before, self._stuck = self._stuck, next((each for each in self._pools if each.age() >= _TICKS), None)
        if self._stuck is not before:
            self._report(before)
        if self._stuck is not None:
            self._call_in_loop(self._while_stuck)
            if self._stuck.age() >= _END_AFTER * _TICKS:
                self._end(self.stuck)
        self._probe_loop()

    def _watch(self) -> None:
        while not self._stopped.wait(self._tick_s):
            self.tick()

    def _report(self, before: Steps | None) -> None:
        if self._stuck is None:
            _log.warning("nothing is stuck any more")
            return
        limit_s = _END_AFTER * self.stuck_after_s
        _log.error("%s No new photos are taken; at %.3g s the process ends.", self.stuck, limit_s)
        if before is None:
            self._call_in_loop(self._on_stuck)

    def _probe_loop(self) -> None:
        """Ask the loop for a sign of life once it has given the last one, so that probes do not pile up."""
        if self._loop is None or self._loop.is_closed():
            self.stop()  # There is nothing left to watch.
        elif not self._loop_probed:
            self._loop_probed = True
            self._call_in_loop(self._on_loop_alive)
        elif self._ticks - self._loop_alive_at >= _LOOP_DEAD_AFTER * _TICKS:
            silent_s = (self._ticks - self._loop_alive_at) * self._tick_s
            self._end(f"The event loop has not answered for {silent_s:.3g} s.")

    def _on_loop_alive(self) -> None:
        self._loop_alive_at, self._loop_probed = self._ticks, False

    def _call_in_loop(self, call: Callable[[], None]) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # The loop may be closed at this moment.
                self._loop.call_soon_threadsafe(call)


def end_process(reason: str) -> None:
    """Log the reason and the tracebacks of all threads, and exit with status 70 without waiting for any thread."""
    signal.alarm(_TRACEBACK_S)
    _log.critical("%s The process ends, to be restarted.", reason)
    faulthandler.dump_traceback(file=2)
    logging.shutdown()
    os._exit(STATUS)
