"""The inference process' side: models that front ends share, and batches of the squares of all of them.

A model is loaded when the first front end asks for it, and closed when the last one that holds it gives it up or
ends. What a front end may have waiting is bounded as in a process that is alone. Knows no photos and no HTTP.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import socket
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from app.errors import InferenceFailed, ServiceError
from app.inference.backends.base import LoadError, give_memory_back
from app.inference.predictor import Predictor
from app.inference.remote.frames import (
    Arriving,
    Bytes,
    Cancel,
    Collect,
    Done,
    Failed,
    FrameError,
    FrameProtocol,
    Gather,
    Hello,
    Load,
    Loaded,
    Message,
    Pages,
    State,
    Submit,
    Unload,
)
from app.inference.servable import DeviceContext, Servable, on_device
from app.observability.logs import request_id
from model.contract import ContractError

TELL_EVERY_S: Final = 1.0
COLLECT_S: Final = 1.0
DETAIL_MAX: Final = 8_000  # characters of a reason, some of which take six in a message
_NAME: Final = re.compile(r"[a-z0-9-]{1,32}")
_log: Final = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _SharedModel:
    """A model, from the moment that the first front end asked for it. `holders`: how many hold it, or wait for it."""

    asked: Load
    loading: asyncio.Task[Servable]
    holders: int = 0


class InferenceServer:
    """Serve front ends. `load` gets the folder of a model and raises ContractError or LoadError; `stuck` tells what
    hangs, in a sentence, or nothing; `page` gives this process' metrics. Create it inside a running event loop."""

    def __init__(
        self,
        name: str,
        load: Callable[[Path], Predictor],
        device: DeviceContext,
        *,
        stuck: Callable[[], str],
        page: Callable[[], str],
    ) -> None:
        self.name = name
        self.device = device
        self.page = page
        self._load = load
        self._stuck = stuck
        self._models: dict[tuple[str, str], _SharedModel] = {}
        self._front_ends: set[_FrontEnd] = set()
        self._loader = ThreadPoolExecutor(1, "load")
        self._tasks: set[asyncio.Task[None]] = set()
        self._left = asyncio.Event()  # a front end has left

    @property
    def models(self) -> list[Servable]:
        """The models that are loaded."""
        tasks = [each.loading for each in self._models.values()]
        return [task.result() for task in tasks if task.done() and task.exception() is None]

    async def serve(self, listener: socket.socket, stopping: asyncio.Event, drain_s: float) -> None:
        """Accept front ends until `stopping` is set; then wait for all to leave, at most `drain_s`."""
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: _FrontEnd(self).protocol, sock=listener)
        telling = asyncio.create_task(self._tell_state(), name="state")
        try:
            await stopping.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(drain_s):
                    while self._front_ends:
                        self._left.clear()
                        await self._left.wait()
        finally:
            telling.cancel()
            server.close()
            await self._close()

    def hold(self, asked: Load) -> _SharedModel:
        """Load the model, unless it is loaded or loading already. Each call is followed by one of `release`."""
        key = (asked.label, asked.sha256)
        if key not in self._models:
            _log.info("loading model %s", asked.label)
            self._models[key] = _SharedModel(asked, asyncio.create_task(self._loaded(asked), name="load"))
        self._models[key].holders += 1
        return self._models[key]

    def release(self, shared: _SharedModel) -> None:
        """Close the model, if nobody else holds it."""
        shared.holders -= 1
        if not shared.holders:
            del self._models[shared.asked.label, shared.asked.sha256]
            self.spawn(self._retire(shared))

    def joined(self, front_end: _FrontEnd) -> None:
        """A front end has connected."""
        self._front_ends.add(front_end)
        front_end.send(0, State(self._stuck()))

    def left(self, front_end: _FrontEnd) -> None:
        """A front end has gone."""
        self._front_ends.discard(front_end)
        self._left.set()

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run `work` in a task, which is kept until it is done."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def pages(self, asking: _FrontEnd, *, others: bool) -> dict[str, bytes]:
        """The metrics of this process and, if `others`, of all front ends but the one that asks, by name."""
        asked = [each for each in self._front_ends if others and each is not asking and each.name]
        answers = await asyncio.gather(*(each.collect() for each in asked))
        return {self.name: self.page().encode()} | {
            each.name: page for each, page in zip(asked, answers, strict=True) if page is not None
        }

    async def _loaded(self, asked: Load) -> Servable:
        def load() -> Predictor:
            predictor = self._load(Path(asked.path))
            if (predictor.manifest.label, predictor.manifest.sha256) != (asked.label, asked.sha256):
                raise LoadError(f"{asked.path} has changed while it was being loaded")
            return predictor

        predictor = await asyncio.get_running_loop().run_in_executor(self._loader, load)
        return on_device(predictor, self.device)

    async def _retire(self, shared: _SharedModel) -> None:
        await asyncio.wait({shared.loading})
        if shared.loading.exception() is None:
            await shared.loading.result().unload()
            _log.info("model %s is closed", shared.asked.label)
            await asyncio.get_running_loop().run_in_executor(self._loader, give_memory_back)

    async def _tell_state(self) -> None:
        """Tell all front ends what hangs, often enough for them to know that this process lives."""
        every_s = min(TELL_EVERY_S, self.device.settings.stuck_after_ms / 20_000)
        while True:
            state = State(self._stuck())
            for each in self._front_ends:
                each.send(0, state)
            await asyncio.sleep(every_s)

    async def _close(self) -> None:
        for front_end in list(self._front_ends):
            front_end.protocol.end()
        for task in self._tasks:
            task.cancel()
        for servable in self.models:
            await servable.close()
        self._loader.shutdown(wait=False, cancel_futures=True)


@dataclass(slots=True)
class _HeldModel:
    shared: _SharedModel
    servable: Servable
    arriving: int = 0


@dataclass(slots=True, eq=False)
class _FrontEnd:
    """One connection: what the front end holds, and which of its squares are waiting."""

    server: InferenceServer
    name: str = ""
    protocol: FrameProtocol = field(init=False)
    _models: dict[int, _HeldModel] = field(default_factory=dict)
    _tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    _collecting: dict[int, asyncio.Future[bytes]] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.protocol = FrameProtocol(self._on_frame, self._on_lost)

    def send(self, number: int, message: Message, array: Bytes = b"") -> None:
        """Send a frame, if the connection lasts."""
        self.protocol.send(number, message, array)

    async def collect(self) -> bytes | None:
        """The front end's metrics; None if it does not answer soon."""
        number = next(self._numbers)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._collecting[number] = answer
        self.send(number, Collect())
        try:
            async with asyncio.timeout(COLLECT_S):
                return await answer
        except TimeoutError:
            return None
        finally:
            del self._collecting[number]

    def _on_frame(self, number: int, message: Message, array: memoryview) -> None:
        if not self.name and not isinstance(message, Hello):
            raise FrameError("the first message is not Hello")
        match message:
            case Submit():
                servable = self._held(message.model).servable
                self._start(number, self._run(number, servable, _square(array, servable), message.request))
            case Arriving():
                held = self._held(message.model)
                held.servable.expect(message.photos - held.arriving)
                held.arriving = message.photos
            case Cancel():
                if task := self._tasks.get(number):
                    task.cancel()
            case Pages():
                if (answer := self._collecting.get(number)) and not answer.done():
                    answer.set_result(bytes(array))
            case Hello():
                self._introduce(message.name)
            case Load():
                self._start(number, self._load(number, message))
            case Unload():
                self._give_up(self._held(message.model))
                del self._models[message.model]
            case Gather():
                self._start(number, self._gather(number, others=message.others))
            case _:
                raise FrameError(f"{type(message).__name__} is not for inference processes")

    def _introduce(self, name: str) -> None:
        if self.name or not _NAME.fullmatch(name):
            raise FrameError("the front end's name is missing, or comes twice")
        self.name = name
        self.server.joined(self)

    def _held(self, model: int) -> _HeldModel:
        held = self._models.get(model)
        if held is None:
            raise FrameError(f"there is no model {model}")
        return held

    def _start(self, number: int, work: Coroutine[None, None, None]) -> None:
        task = self._tasks[number] = self.server.spawn(work)
        task.add_done_callback(lambda _: self._tasks.pop(number, None))

    async def _run(self, number: int, servable: Servable, square: np.ndarray, request: str) -> None:
        request_id.set(request)
        try:
            batched = await servable.submit(square)
        except ServiceError as error:
            self.send(number, Failed(type(error).__name__, error.detail))
            return
        alpha = np.ascontiguousarray(batched.output, np.float32)
        if alpha.shape != square.shape[:2]:
            self.send(number, Failed(InferenceFailed.__name__, f"the model gave shape {alpha.shape}"))
            return
        self.send(number, Done(batched.queue_s, batched.run_s, batched.size), alpha.data)

    async def _load(self, number: int, asked: Load) -> None:
        shared, kept = self.server.hold(asked), False
        try:
            await asyncio.wait({shared.loading})
            error = shared.loading.exception()
            if error is None:
                kept = True
                self._keep(number, shared, shared.loading.result())
            else:
                self._refuse(number, error)
        finally:
            if not kept:
                self.server.release(shared)

    def _keep(self, number: int, shared: _SharedModel, servable: Servable) -> None:
        model, facts = next(self._numbers), servable.model
        self._models[model] = _HeldModel(shared, servable)
        told = (facts.device, facts.runtime, facts.precision, facts.batch_sizes, facts.lanes)
        self.send(number, Loaded(model, *told))

    def _refuse(self, number: int, error: BaseException) -> None:
        if isinstance(error, ContractError | LoadError):
            self.send(number, Failed(type(error).__name__, str(error)[:DETAIL_MAX]))
            return
        _log.critical("a model could not be loaded", exc_info=error)
        self.send(number, Failed(LoadError.__name__, f"an unexpected error: {error!r}"[:DETAIL_MAX]))

    async def _gather(self, number: int, *, others: bool) -> None:
        pages = await self.server.pages(self, others=others)
        sizes = tuple(len(page) for page in pages.values())
        self.send(number, Pages(tuple(pages), sizes), b"".join(pages.values()))

    def _give_up(self, held: _HeldModel) -> None:
        held.servable.expect(-held.arriving)
        self.server.release(held.shared)

    def _on_lost(self) -> None:
        for task in list(self._tasks.values()):
            task.cancel()
        for held in self._models.values():
            self._give_up(held)
        self._models.clear()
        self.server.left(self)


def _square(array: memoryview, servable: Servable) -> np.ndarray:
    side = servable.manifest.input_size
    if array.nbytes != side * side * 3:
        raise FrameError(f"{array.nbytes} bytes for a square of {side} pixels")
    return np.frombuffer(array, np.uint8).reshape(side, side, 3)
