"""The front end's side: models that run in the inference processes, as a source for the registry of models.

Squares go to the process that has fewest of this front end's. Knows no photos and no HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

from app.errors import NotReady, QueueFull
from app.inference.batcher import Batched
from app.inference.remote import pages
from app.inference.remote.link import Held, Link
from app.inference.repository import ModelVersion
from app.inference.servable import DeviceContext, Servable
from model.contract import Manifest
from model.matting import VIEWS_MAX
from model.transforms import Alpha, Image


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model that an inference process has loaded."""

    manifest: Manifest
    device: str
    runtime: str
    precision: str
    batch_sizes: tuple[int, ...]
    lanes: int

    @property
    def batch_limit(self) -> int:
        """The largest batch; how far memory limits it is known, and told, by the inference process."""
        return self.batch_sizes[-1]


class RemoteBatcher:
    """Squares go to the process with the fewest of them, of those that hold the model and serve."""

    def __init__(self, held: Sequence[Held], max_queue: int, expected: Callable[[], int]) -> None:
        self._held = held
        self._max_queue = max_queue
        self._expected = expected
        self._loop = asyncio.get_running_loop()
        self._waiting = 0
        self._closed = False
        self._flushed = False

    @property
    def fault(self) -> str:
        """Why submitted squares will not be served, in a sentence; empty if one process serves."""
        if self._closed:
            return "The service is shutting down."
        faults = [held.fault for held in self._held]
        return "" if "" in faults else faults[0]

    @property
    def depth(self) -> int:
        """None wait here: the queue is the inference process', whose metrics tell it."""
        return 0

    async def submit(self, square: Image) -> Batched[Alpha]:
        """Wait for the alpha of a square. Raises QueueFull, NotReady, or the batch's error."""
        if fault := self.fault:
            raise NotReady(fault)
        if self._waiting >= self._max_queue:
            raise QueueFull(f"{self._max_queue} pictures are waiting already.")
        held = min((each for each in self._held if not each.fault), key=lambda each: each.link.squares)
        self._waiting += 1
        try:
            return await held.link.run(held, square)
        finally:
            self._waiting -= 1

    def notify(self) -> None:
        """The number of photos that are being decoded has changed: batches may wait for them."""
        for held in self._held:
            held.link.expect(held, 0 if self._flushed else self._expected())

    def flush(self) -> None:
        """From now on batches do not wait for this front end. Safe to call from a signal handler."""
        self._flushed = True
        self._loop.call_soon_threadsafe(self.notify)

    async def close(self, _timeout_s: float) -> None:
        """Give the model up; waiting squares get NotReady."""
        self._closed = True
        for held in self._held:
            held.link.release(held)


@dataclass(frozen=True, slots=True)
class InferenceProcesses:
    """The inference processes of a host as a source of models, with the folder of models looked through by `scan`.
    `name`: this front end's."""

    scan: Callable[[], list[ModelVersion]]
    name: str
    links: Sequence[Link]

    def start(self) -> None:
        """Connect to all. Call it inside a running event loop."""
        for link in self.links:
            link.start()

    async def close(self) -> None:
        """End all connections."""
        for link in self.links:
            await link.close()

    async def open(self, version: ModelVersion, device: DeviceContext, _loader: Executor) -> Servable:
        """Let every process load a version. Raises ContractError or LoadError."""
        answers = await asyncio.gather(*(link.hold(version) for link in self.links), return_exceptions=True)
        errors = [answer for answer in answers if isinstance(answer, BaseException)]
        held = [answer for answer in answers if isinstance(answer, Held)]
        if errors:
            for each in held:
                each.link.release(each)
            raise errors[0]
        max_queue = device.settings.max_queue * VIEWS_MAX
        return Servable(_model(held), partial(RemoteBatcher, held, max_queue))

    async def joined_page(self, own: bytes) -> bytes:
        """The metrics of all processes as one page; `own` is this one's. One that does not answer is left out."""
        connected = [link for link in self.links if link.connected]
        answers = await asyncio.gather(*(link.gather(others=link is connected[0]) for link in connected))
        found = {self.name: own.decode()}
        for answer in answers:
            found |= answer
        return pages.merge({name: found[name] for name in sorted(found)}).encode()


def _model(held: Sequence[Held]) -> RemoteModel:
    facts = [each.facts for each in held if each.facts is not None]
    first = facts[0]
    return RemoteModel(
        held[0].version.manifest,
        first.device,
        first.runtime,
        first.precision,
        first.batch_sizes,
        sum(each.lanes for each in facts),
    )
