"""Group single items from many tasks into batches; each task gets its own item's output.

    submit -> waiting (FIFO, bounded) -> batch (max size, or max wait since its first item) -> run -> waiters

Knows no TensorFlow, no arrays and no HTTP: `run` maps a list of inputs to as many outputs.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeVar

from app.errors import SHUT_DOWN, InferenceFailed, NotReady, QueueFull, ServiceError
from app.observability.logs import request_id

In = TypeVar("In")
Out = TypeVar("Out")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Batched(Generic[Out]):
    """One item's output, the seconds it waited for its batch and the seconds that ran, and the batch's size."""

    output: Out
    queue_s: float
    run_s: float
    size: int


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter(Generic[In, Out]):
    item: In
    since: float
    answer: asyncio.Future[Batched[Out]]
    request: str

    def fail(self, error: ServiceError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Batcher(Generic[In, Out]):
    """Group items for `run`, which is awaited for up to `lanes` batches at a time.

    When a lane is free, a batch starts as soon as it is full, its first item has waited for `max_wait_s`, or
    `expected` returns 0: no further item is expected. Call `notify` when the number of expected items changes.

    A waiter that is cancelled (its client disconnected, or its deadline passed) leaves the queue immediately. Every
    other waiter is settled exactly once: with its output, the ServiceError returned in its place or raised by `run`,
    InferenceFailed for any other error, or NotReady when the batcher closes or dies.
    """

    def __init__(
        self,
        run: Callable[[Sequence[In]], Awaitable[Sequence[Out | ServiceError]]],
        *,
        max_size: int,
        max_wait_s: float,
        max_queue: int,
        lanes: int = 1,
        expected: Callable[[], int] | None = None,
    ) -> None:
        self._run = run
        self._expected = expected
        self._max_size = max_size
        self._max_wait_s = max_wait_s
        self._max_queue = max_queue
        self._waiting: deque[_Waiter[In, Out]] = deque()
        self._running: list[list[_Waiter[In, Out]]] = [[] for _ in range(lanes)]
        self._assembling = asyncio.Lock()  # One lane at a time takes items from the queue.
        self._changed = asyncio.Event()
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._serve(), name="batcher")
        self._task.add_done_callback(self._on_task_done)

    @property
    def alive(self) -> bool:
        """Whether submitted items will be served."""
        return not self._closing and not self._task.done()

    @property
    def fault(self) -> str:
        """Why submitted items will not be served, in a sentence; empty if they will."""
        return "" if self.alive else "The device loop has ended; the service must be restarted."

    @property
    def depth(self) -> int:
        """Items that wait for a batch, without those in running batches."""
        return len(self._waiting)

    async def submit(self, item: In) -> Batched[Out]:
        """Wait for the output of `item`. Raises QueueFull, NotReady if closed or dead, or the batch's error."""
        if not self.alive:
            raise NotReady("The service is shutting down or its device loop has ended.")
        if len(self._waiting) >= self._max_queue:
            raise QueueFull(f"{self._max_queue} pictures are waiting already.")
        waiter: _Waiter[In, Out] = _Waiter(
            item, self._loop.time(), self._loop.create_future(), request_id.get()
        )
        self._waiting.append(waiter)
        self._changed.set()
        try:
            return await waiter.answer
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                self._changed.set()
            raise

    def notify(self) -> None:
        """The number of expected items has changed: check whether the batch should still wait for them."""
        self._changed.set()

    def flush(self) -> None:
        """From now on start batches without waiting for more items. Safe to call from a signal handler."""
        self._max_wait_s = 0.0
        if self.alive:
            self._loop.call_soon_threadsafe(self._changed.set)

    async def close(self, timeout_s: float) -> None:
        """Refuse new items, serve the waiting ones for up to `timeout_s`, fail the rest with NotReady."""
        self._closing = True
        self._changed.set()
        await asyncio.wait({self._task}, timeout=timeout_s)
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _serve(self) -> None:
        """Run the lanes. If one dies, all end: a half-dead service would hide the fault."""
        async with asyncio.TaskGroup() as lanes:
            for number in range(len(self._running)):
                lanes.create_task(self._lane(number), name=f"lane {number}")

    async def _lane(self, number: int) -> None:
        while True:
            async with self._assembling:
                batch = await self._next_batch()
            if not batch:
                return
            self._running[number] = batch
            await self._run_batch(batch)
            self._running[number] = []

    async def _next_batch(self) -> list[_Waiter[In, Out]]:
        """The next 1..max_size waiters in order of arrival; none when closing and the queue is empty."""
        while len(self._waiting) < self._max_size and not self._closing:
            left_s = self._waiting[0].since + self._max_wait_s - self._loop.time() if self._waiting else None
            if left_s is not None and (left_s <= 0 or self._none_expected()):
                break
            self._changed.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._changed.wait()
            except TimeoutError:
                continue  # The first item may have been cancelled, and another one may be first now.
        size = min(self._max_size, len(self._waiting))
        return [self._waiting.popleft() for _ in range(size)]

    def _none_expected(self) -> bool:
        return self._expected is not None and self._expected() <= 0

    async def _run_batch(self, batch: Sequence[_Waiter[In, Out]]) -> None:
        started = self._loop.time()
        try:
            outputs = await self._run([waiter.item for waiter in batch])
            if len(outputs) != len(batch):
                raise InferenceFailed(f"{len(outputs)} outputs for {len(batch)} inputs")
        except ServiceError as error:
            _log.warning("a batch of %d failed: %s", len(batch), error, extra=_request_ids(batch))
            for waiter in batch:
                waiter.fail(type(error)(error.detail))
            return
        except Exception:  # Whatever a batch does, its waiters are settled and the next batch is served.
            _log.exception("a batch of %d failed", len(batch), extra=_request_ids(batch))
            for waiter in batch:
                waiter.fail(InferenceFailed("The network failed on this batch."))
            return
        run_s = self._loop.time() - started
        for waiter, output in zip(batch, outputs, strict=True):
            if isinstance(output, ServiceError):
                waiter.fail(output)
            elif not waiter.answer.done():
                waiter.answer.set_result(Batched(output, started - waiter.since, run_s, len(batch)))

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("the batch loop has died", exc_info=error)
        for waiter in (*chain(*self._running), *self._waiting):
            waiter.fail(NotReady(SHUT_DOWN))
        self._waiting.clear()


def _request_ids(batch: Sequence[_Waiter[In, Out]]) -> dict[str, list[str]]:
    """The ids of all requests in the batch, for its log line."""
    return {"request_ids": [waiter.request for waiter in batch]}
