"""An inference process and its front ends, in one event loop."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.concurrency.watchdog import Watchdog
from app.inference.backends.base import LoadError, Predict
from app.inference.predictor import Predictor
from app.inference.remote.front_end import InferenceProcesses
from app.inference.remote.inference import InferenceServer
from app.inference.remote.link import Link
from app.inference.repository import ModelVersion
from app.inference.servable import DeviceContext, Servable
from app.observability.metrics import Metrics
from app.settings import Settings
from model.contract import Manifest
from tests.support.networks import Gate, mean_colour

SIDE = 8


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder with a short path, as that of a Unix socket has to be."""
    with tempfile.TemporaryDirectory(prefix="gp-") as folder:
        yield Path(folder)


def version(label: str = "a@1", content: str = "0") -> ModelVersion:
    name, number = label.split("@")
    files = {"saved_model/x": content * 64}
    return ModelVersion(Path("/models") / label, Manifest(name, number, SIDE, "stretch", files), int(number))


@dataclass
class Host:
    """One inference process, which can be killed and started again, and front ends."""

    folder: Path
    predict: Predict = mean_colour
    settings: Settings = field(default_factory=Settings)
    sizes: tuple[int, ...] = (1, 2, 4)
    lanes: int = 1
    front_ends: int = 1
    broken: set[str] = field(default_factory=set)
    other_content: bool = False
    more: str = ""  # of the reason why a model is broken
    loads: list[str] = field(default_factory=list)
    load_gate: Gate | None = None  # for loads to wait at
    stuck: str = ""
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def __post_init__(self) -> None:
        self.threads = ThreadPoolExecutor(2)
        self.metrics = Metrics()
        self.path = self.folder / "inference-0"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()
        self.stopping = asyncio.Event()
        self.start()

    def device(self, front_ends: int = 1) -> DeviceContext:
        return DeviceContext(self.threads, Watchdog(60).pool("", 1), self.metrics, self.settings, front_ends)

    def start(self) -> None:
        self.server = InferenceServer(
            "inference",
            self._load,
            self.device(self.front_ends),
            stuck=lambda: self.stuck,
            page=lambda: "# HELP a b\n# TYPE a gauge\na 1.0\n",
        )
        self.accepting = self.listener.dup()
        self.serving = asyncio.create_task(
            self.server.serve(self.accepting, self.stopping, self.settings.drain_timeout_ms / 1000)
        )

    async def kill(self) -> None:
        """As kill -9: all its connections end."""
        self.serving.cancel()
        await asyncio.wait({self.serving})
        self.accepting.close()

    def _load(self, path: Path) -> Predictor:
        self.loads.append(path.name)
        if self.load_gate:
            self.load_gate.entered.set()
            assert self.load_gate.opened.wait(30)
        if path.name in self.broken:
            raise LoadError("it is broken" + self.more)
        manifest = version(path.name, "1" if self.other_content else "0").manifest
        return Predictor(manifest, "cpu", "float32", self.sizes, self.predict, self.lanes)

    @asynccontextmanager
    async def front_end(
        self, name: str = "0", stuck_after_s: float = 60
    ) -> AsyncIterator[InferenceProcesses]:
        page = f'# HELP a b\n# TYPE a gauge\na {name}.0\n# HELP c d\n# TYPE c gauge\nc{{k="{name}"}} 2.0\n'
        link = Link(self.path, name, stuck_after_s, lambda: page.encode())
        made = InferenceProcesses(list, name, [link])
        made.start()
        try:
            yield made
        finally:
            await made.close()

    async def open(self, front_end: InferenceProcesses, label: str = "a@1") -> Servable:
        return await front_end.open(version(label), self.device(), self.threads)

    async def close(self) -> None:
        self.stopping.set()
        await asyncio.wait({self.serving})
        self.accepting.close()
        self.listener.close()
        self.threads.shutdown()


@pytest.fixture
def host(sockets: Path) -> Callable[..., object]:
    """`async with host(predict=…, settings=…) as it`."""

    @asynccontextmanager
    async def make(**chosen: object) -> AsyncIterator[Host]:
        made = Host(sockets, **chosen)  # type: ignore[arg-type]
        try:
            yield made
        finally:
            await made.close()

    return make
