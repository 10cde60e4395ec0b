"""Steps of work in threads are timed; what hangs is found out, told, and in the end taken down with the process.

A thread that hangs in a C library cannot be ended, only left behind. So a hang has three stages:

    late for `stuck_after_s`     `stuck` says so: nothing new is taken, who has waited as long is told
    late for twice that          the process ends with status 70, for whoever restarts it
    it ends by itself            `stuck` is empty again

The event loop is listened to as well: one that has not answered for four times `stuck_after_s` ends the process, too.
Time is not read from a clock but counted, in pauses of the watchdog's own thread: while the machine is suspended or
the process stopped nothing is counted, and no clock that jumps makes a step late. Knows no pictures and no HTTP.
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
_TICKS: Final = 20  # In `stuck_after_s`: a hang is found out at most a twentieth later.
_LEAVE_AFTER: Final = 2  # times `stuck_after_s`
_LOOP_LOST_AFTER: Final = 4  # times `stuck_after_s`
_LAST_WORDS_S: Final = 5  # Then the kernel ends the process: nobody may be reading what it has to say.

_log = logging.getLogger(__name__)


class Steps:
    """What a pool of threads is at. It is stuck when `enough` of them are late with the step that they are in."""

    def __init__(self, sentence: str, enough: int, now: Callable[[], int]) -> None:
        self.sentence = sentence
        self._enough = enough
        self._now = now
        self._lock = threading.Lock()
        self._since: dict[object, int] = {}

    @contextmanager
    def step(self) -> Iterator[None]:
        """Times what the calling thread does inside."""
        token = object()
        with self._lock:
            self._since[token] = self._now()
        try:
            yield
        finally:
            with self._lock:
                del self._since[token]

    def ages(self) -> list[int]:
        """Of the steps that are under way, in ticks, the oldest first."""
        with self._lock:
            since = sorted(self._since.values())
        return [self._now() - each for each in since]

    def age(self) -> int:
        """For how many ticks the pool has been stuck or on its way to it."""
        ages = self.ages()
        return ages[self._enough - 1] if len(ages) >= self._enough else 0


class Watchdog:
    """`start` it once the work begins. `leave` ends the process; it gets the reason."""

    def __init__(self, stuck_after_s: float, leave: Callable[[str], None] | None = None) -> None:
        self._tick_s = stuck_after_s / _TICKS
        self._leave = leave or end_process
        self._pools: list[Steps] = []
        self._ticks = 0
        self._stuck: Steps | None = None
        self._heard_at = 0
        self._asked = False
        self._stopped = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_stuck: Callable[[], None] = lambda: None
        self._while_stuck: Callable[[], None] = lambda: None

    def pool(self, sentence: str, enough: int) -> Steps:
        """Steps to be watched. `sentence` says to whoever asks what is stuck: "A batch has been running"."""
        self._pools.append(Steps(sentence, enough, lambda: self._ticks))
        return self._pools[-1]

    def start(self, on_stuck: Callable[[], None], while_stuck: Callable[[], None]) -> None:
        """Watch from now on, and the running event loop too. In it `on_stuck` is called when something is found to
        be stuck, and `while_stuck` again and again until it no longer is. Once only."""
        self._loop = asyncio.get_running_loop()
        self._on_stuck, self._while_stuck = on_stuck, while_stuck
        self._heard_at = self._ticks
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()

    @property
    def now_s(self) -> float:
        """Seconds that were counted."""
        return self._ticks * self._tick_s

    @property
    def stuck_after_s(self) -> float:
        """From when on a step is late."""
        return _TICKS * self._tick_s

    @property
    def stuck(self) -> str:
        """What is stuck, in a sentence; empty if nothing is."""
        steps = self._stuck
        return f"{steps.sentence} for {steps.age() * self._tick_s:.3g} s." if steps else ""

    def oldest_s(self, steps: Steps) -> float:
        """Age of its oldest step in seconds, 0 if it is idle."""
        return max(steps.ages(), default=0) * self._tick_s

    @property
    def idle(self) -> bool:
        """Whether no step is under way."""
        return not any(steps.ages() for steps in self._pools)

    def tick(self) -> None:
        """A twentieth of `stuck_after_s` has passed."""
        self._ticks += 1
        before, self._stuck = self._stuck, next((each for each in self._pools if each.age() >= _TICKS), None)
        if self._stuck is not before:
            self._tell(before)
        if self._stuck is not None:
            self._in_loop(self._while_stuck)
            if self._stuck.age() >= _LEAVE_AFTER * _TICKS:
                self._leave(self.stuck)
        self._listen()

    def _watch(self) -> None:
        while not self._stopped.wait(self._tick_s):
            self.tick()

    def _tell(self, before: Steps | None) -> None:
        if self._stuck is None:
            _log.warning("nothing is stuck any more")
            return
        limit_s = _LEAVE_AFTER * self.stuck_after_s
        _log.error("%s No new photos are taken; at %.3g s the process ends.", self.stuck, limit_s)
        if before is None:
            self._in_loop(self._on_stuck)

    def _listen(self) -> None:
        """The loop is asked for a sign of life once it has given the last one, so that questions don't pile up."""
        if self._loop is None or self._loop.is_closed():
            self.stop()  # There is nothing to be watched any more.
        elif not self._asked:
            self._asked = True
            self._in_loop(self._heard)
        elif self._ticks - self._heard_at >= _LOOP_LOST_AFTER * _TICKS:
            lost_s = (self._ticks - self._heard_at) * self._tick_s
            self._leave(f"The event loop has not answered for {lost_s:.3g} s.")

    def _heard(self) -> None:
        self._heard_at, self._asked = self._ticks, False

    def _in_loop(self, call: Callable[[], None]) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # It may be closed at this moment.
                self._loop.call_soon_threadsafe(call)


def end_process(reason: str) -> None:
    """Say why and where every thread is, and end with status 70, without waiting for any of them."""
    signal.alarm(_LAST_WORDS_S)
    _log.critical("%s The process ends, to be started anew.", reason)
    faulthandler.dump_traceback(file=2)
    logging.shutdown()
    os._exit(STATUS)
