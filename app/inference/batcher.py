"""Single items come in from many tasks, each gets its own output back; between, they travel in batches.

    submit -> waiting (FIFO, bounded) -> batch (max size, or max wait since its first item) -> run -> waiters

Knows no TensorFlow, no arrays and no HTTP: `run` is whatever turns a list of inputs into as many outputs.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeVar

from app.errors import InferenceFailed, NotReady, QueueFull, ServiceError
from app.observability.logs import request_id

In = TypeVar("In")
Out = TypeVar("Out")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Batched(Generic[Out]):
    """One item's output, how long it waited for its batch, how long that ran, and of how many items it was."""

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
    """Groups items for `run`, which is awaited for as many batches at a time as there are `lanes`.

    As soon as a lane is free, a batch leaves when it is full, when its first item has waited `max_wait_s`, or at once
    when `on_the_way` says that nobody is there to wait for; `look` tells the batcher that this may have changed.

    A waiter that is cancelled (its client left, or its deadline passed) leaves the queue at once. Every other
    waiter is settled exactly once: with its output, the ServiceError that stands in its output's place or that `run`
    raised, InferenceFailed for any other error, or NotReady when the batcher closes or dies.
    """

    def __init__(
        self,
        run: Callable[[Sequence[In]], Awaitable[Sequence[Out | ServiceError]]],
        *,
        max_size: int,
        max_wait_s: float,
        max_queue: int,
        lanes: int = 1,
        on_the_way: Callable[[], int] | None = None,
    ) -> None:
        self._run = run
        self._on_the_way = on_the_way
        self._max_size = max_size
        self._max_wait_s = max_wait_s
        self._max_queue = max_queue
        self._waiting: deque[_Waiter[In, Out]] = deque()
        self._running: list[list[_Waiter[In, Out]]] = [[] for _ in range(lanes)]
        self._assembling = asyncio.Lock()  # One lane at a time takes from the queue.
        self._changed = asyncio.Event()
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._serve(), name="batcher")
        self._task.add_done_callback(self._ended)

    @property
    def alive(self) -> bool:
        """Whether submitted items will be served."""
        return not self._closing and not self._task.done()

    @property
    def depth(self) -> int:
        """Items waiting for a batch, without those in the running ones."""
        return len(self._waiting)

    async def submit(self, item: In) -> Batched[Out]:
        """Wait for the output of `item`. Raises QueueFull, NotReady if closed or dead, or its batch's error."""
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

    def look(self) -> None:
        """Somebody who was on the way will not come, or has come: is there still anybody to wait for?"""
        self._changed.set()

    def flush(self) -> None:
        """From now on let batches leave without waiting for company. Safe to call from a signal handler."""
        self._max_wait_s = 0.0
        if self.alive:
            self._loop.call_soon_threadsafe(self._changed.set)

    async def close(self, timeout_s: float) -> None:
        """Refuse new items, serve the waiting ones for up to `timeout_s`, fail what is left with NotReady."""
        self._closing = True
        self._changed.set()
        await asyncio.wait({self._task}, timeout=timeout_s)
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _serve(self) -> None:
        """If one lane dies, all end: a service that is half dead would hide it."""
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
        """The next 1..max_size waiters in order of arrival; none when closing and nothing waits."""
        while len(self._waiting) < self._max_size and not self._closing:
            left_s = self._waiting[0].since + self._max_wait_s - self._loop.time() if self._waiting else None
            if left_s is not None and (left_s <= 0 or self._nobody_comes()):
                break
            self._changed.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._changed.wait()
            except TimeoutError:
                continue  # The one that was waited for may have left, and another may be first now.
        size = min(self._max_size, len(self._waiting))
        return [self._waiting.popleft() for _ in range(size)]

    def _nobody_comes(self) -> bool:
        return self._on_the_way is not None and self._on_the_way() <= 0

    async def _run_batch(self, batch: Sequence[_Waiter[In, Out]]) -> None:
        started = self._loop.time()
        try:
            outputs = await self._run([waiter.item for waiter in batch])
            if len(outputs) != len(batch):
                raise InferenceFailed(f"{len(outputs)} outputs for {len(batch)} inputs")
        except ServiceError as error:
            _log.warning("a batch of %d failed: %s", len(batch), error, extra=_requests(batch))
            for waiter in batch:
                waiter.fail(type(error)(error.detail))
            return
        except Exception:  # Whatever a batch does, its waiters are told and the next batch is served.
            _log.exception("a batch of %d failed", len(batch), extra=_requests(batch))
            for waiter in batch:
                waiter.fail(InferenceFailed("The network failed on this batch."))
            return
        run_s = self._loop.time() - started
        for waiter, output in zip(batch, outputs, strict=True):
            if isinstance(output, ServiceError):
                waiter.fail(output)
            elif not waiter.answer.done():
                waiter.answer.set_result(Batched(output, started - waiter.since, run_s, len(batch)))

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("the batch loop has died", exc_info=error)
        for waiter in (*chain(*self._running), *self._waiting):
            waiter.fail(NotReady("The service shut down before this picture was done."))
        self._waiting.clear()


def _requests(batch: Sequence[_Waiter[In, Out]]) -> dict[str, list[str]]:
    """A batch is of many requests: its log line names them all."""
    return {"request_ids": [waiter.request for waiter in batch]}
