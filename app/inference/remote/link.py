"""A front end's connection to one inference process: models that it holds there, and squares that it sends.

When the process ends or falls silent, the squares get NotReady, and the link connects again, and loads again what the
front end holds. Knows no photos and no HTTP.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from app.errors import (
    NONE_TAKEN,
    SHUT_DOWN,
    WAITED_TOO_LONG,
    InferenceFailed,
    NotReady,
    OutOfMemory,
    QueueFull,
)
from app.inference.backends.base import LoadError
from app.inference.batcher import Batched
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
from app.inference.repository import ModelVersion
from app.observability.logs import request_id
from model.contract import ContractError
from model.transforms import Alpha, Image

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
SILENT_S: Final = 5.0  # The inference process says something every second.
GATHER_S: Final = 2.0

ERRORS: Final[dict[str, type[Exception]]] = {
    each.__name__: each
    for each in (QueueFull, NotReady, OutOfMemory, InferenceFailed, LoadError, ContractError)
}
"""What an inference process may answer with. Others are InferenceFailed."""

_ENDED: Final = (
    "The process that runs the network does not answer; photos are taken again as soon as one does."
)
_LOADING: Final = "The model is still loading."
_LOST: Final = "The process that runs the network ended before this picture was done."

_log: Final = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Held:
    """A model that this front end holds in one inference process. `number`: the model's, where it is loaded in that
    process as it runs now."""

    link: Link
    version: ModelVersion
    wanted: bool = True
    number: int | None = None
    facts: Loaded | None = None
    told: int = 0  # photos that are arriving, as the process knows it

    @property
    def fault(self) -> str:
        """Why squares that are submitted now would not be served; empty if they would."""
        return self.link.fault or ("" if self.number is not None else _LOADING)


@dataclass(frozen=True, slots=True)
class _Question:
    answer: asyncio.Future[tuple[Message, memoryview]]
    since: float
    held: Held | None = None  # of a square

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Link:
    """The connection to one inference process, at the Unix socket `path`. `start` once, inside a running event loop;
    `close` once. `page` gives this process' metrics."""

    def __init__(self, path: Path, name: str, stuck_after_s: float, page: Callable[[], bytes]) -> None:
        self._path = path
        self._name = name
        self._stuck_after_s = stuck_after_s
        self._page = page
        self._stuck = ""
        self._held: set[Held] = set()
        self._numbers = itertools.count()
        self._questions: dict[int, _Question] = {}
        self._protocol: FrameProtocol | None = None
        self._connected = asyncio.Event()
        self._changed = asyncio.Event()  # something was heard, or the connection was lost
        self._tasks: set[asyncio.Task[None]] = set()
        self.squares = 0  # that wait for their alphas

    def start(self) -> None:
        """Connect, and connect again whenever the connection is lost."""
        self._loop = asyncio.get_running_loop()
        self._spawn(self._keep_connected())

    async def close(self) -> None:
        """End the connection; whoever waits gets NotReady."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._disconnect(SHUT_DOWN)

    @property
    def fault(self) -> str:
        """Why this process serves nothing now, in a sentence; empty if it does."""
        if self._protocol is None:
            return _ENDED
        return f"{self._stuck} {NONE_TAKEN}" if self._stuck else ""

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._protocol is not None

    async def hold(self, version: ModelVersion) -> Held:
        """Let the process load a model, and hold it. If the process ends meanwhile, the next one loads it. Raises
        LoadError or ContractError."""
        held = Held(self, version)
        while held.number is None:
            await self._connected.wait()
            with suppress(NotReady):
                await self._load(held)
        return held

    def release(self, held: Held) -> None:
        """The model is not needed any more; squares that wait for it get NotReady."""
        held.wanted = False
        self._held.discard(held)
        for question in list(self._questions.values()):
            if question.held is held:
                question.fail(NotReady(SHUT_DOWN))
        if held.number is not None:
            self._tell(Unload(held.number))
            held.number = None

    async def run(self, held: Held, square: Image) -> Batched[Alpha]:
        """The alpha float32 `[S,S]` of a square uint8 `[S,S,3]`. Raises ServiceErrors."""
        assert held.number is not None
        self.squares += 1
        try:
            question = Submit(held.number, request_id.get())
            answer, array = await self._ask(question, np.ascontiguousarray(square).data, held)
        finally:
            self.squares -= 1
        assert isinstance(answer, Done)
        alpha = np.frombuffer(array, np.float32).reshape(square.shape[:2])
        return Batched(alpha, answer.queue_s, answer.run_s, answer.size)

    def expect(self, held: Held, photos: int) -> None:
        """So many photos for the model are being decoded."""
        if held.number is not None and held.told != photos:
            held.told = photos
            self._tell(Arriving(held.number, photos))

    async def gather(self, *, others: bool) -> dict[str, str]:
        """The metrics of the process and, if `others`, of the other front ends, by name; none if it is silent."""
        try:
            async with asyncio.timeout(GATHER_S):
                answer, array = await self._ask(Gather(others))
        except (TimeoutError, NotReady):
            return {}
        assert isinstance(answer, Pages)
        ends = list(itertools.accumulate(answer.sizes))
        parts = zip(answer.names, answer.sizes, ends, strict=True)
        return {name: bytes(array[end - size : end]).decode() for name, size, end in parts}

    async def _keep_connected(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            began = self._loop.time()
            with suppress(OSError):
                await self._connect()
                await self._listen()
            self._disconnect(_LOST)
            if self._loop.time() - began > LONGEST_PAUSE_S:
                pause_s = FIRST_PAUSE_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _connect(self) -> None:
        make = partial(FrameProtocol, self._on_frame, self._changed.set)
        _, self._protocol = await self._loop.create_unix_connection(make, str(self._path))
        self._tell(Hello(self._name))
        self._connected.set()
        for held in self._held:
            self._spawn(self._load_again(held))

    async def _listen(self) -> None:
        """Until the connection is lost, or nothing has been heard for long."""
        assert self._protocol is not None
        silent_s = max(SILENT_S, self._stuck_after_s)
        with suppress(TimeoutError):
            while self._protocol.open:
                self._changed.clear()
                async with asyncio.timeout(silent_s):
                    await self._changed.wait()

    def _disconnect(self, why: str) -> None:
        if self._protocol is not None:
            self._protocol.end()
            if why is not SHUT_DOWN:
                _log.warning("the process at %s has ended, or is silent: connecting again", self._path.name)
        self._protocol = None
        self._connected.clear()
        self._stuck = ""
        for held in self._held:
            held.number, held.told = None, 0
        for question in list(self._questions.values()):
            question.fail(NotReady(why))

    async def _load(self, held: Held) -> None:
        """Raises LoadError, ContractError, or NotReady where the process ended meanwhile."""
        version, asked = held.version, self._protocol
        answer, _ = await self._ask(
            Load(str(version.path.absolute()), version.label, version.manifest.sha256)
        )
        if asked is not self._protocol:
            raise NotReady(_LOST)
        assert isinstance(answer, Loaded)
        if held.wanted:
            held.number, held.facts, held.told = answer.model, answer, 0
            self._held.add(held)
        else:
            self._tell(Unload(answer.model))

    async def _load_again(self, held: Held) -> None:
        pause_s = FIRST_PAUSE_S
        while held.wanted and held.number is None:
            try:
                await self._load(held)
            except NotReady:
                return  # With the next connection it is tried again.
            except (LoadError, ContractError) as error:
                _log.error("model %s cannot be loaded again: %s", held.version.label, error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _ask(
        self, message: Message, array: Bytes = b"", held: Held | None = None
    ) -> tuple[Message, memoryview]:
        if self._protocol is None:
            raise NotReady(_ENDED)
        number = next(self._numbers)
        question = self._questions[number] = _Question(self._loop.create_future(), self._loop.time(), held)
        self._protocol.send(number, message, array)
        try:
            return await question.answer
        except asyncio.CancelledError:
            self._tell(Cancel(), number)
            raise
        finally:
            del self._questions[number]

    def _tell(self, message: Message, number: int = 0) -> None:
        if self._protocol is not None:
            self._protocol.send(number, message)

    def _on_frame(self, number: int, message: Message, array: memoryview) -> None:
        self._changed.set()
        match message:
            case State():
                self._stuck = message.stuck
                if message.stuck:
                    self._fail_late()
            case Collect():
                page = self._page()
                assert self._protocol is not None
                self._protocol.send(number, Pages((self._name,), (len(page),)), page)
            case Loaded() | Done() | Failed() | Pages():
                self._answer(number, message, array)
            case _:
                raise FrameError(f"{type(message).__name__} is not for front ends")

    def _answer(self, number: int, message: Message, array: memoryview) -> None:
        question = self._questions.get(number)
        if question is None or question.answer.done():  # Nobody waits for it any more.
            if isinstance(message, Loaded):
                self._tell(Unload(message.model))
        elif isinstance(message, Failed):
            question.fail(ERRORS.get(message.error, InferenceFailed)(message.detail))
        else:
            question.answer.set_result((message, array))

    def _fail_late(self) -> None:
        """The process hangs: what has waited as long as that is given up."""
        latest = self._loop.time() - self._stuck_after_s
        for number, question in list(self._questions.items()):
            if question.held is not None and question.since <= latest:
                question.fail(NotReady(f"{self._stuck} {WAITED_TOO_LONG}"))
                self._tell(Cancel(), number)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
