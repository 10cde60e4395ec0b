"""Load on a service and what it does: requests closed-loop or open-loop, latencies, the process's memory meanwhile.

In: an address and the request to send. Out: a Load. Client and service share the machine, and what a client costs is
in the figures of every service alike: requests are put together once, and go over bare sockets. An HTTP client takes
5 ms to send half a megabyte as a form, and 20 to read a cut-out.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import cv2
import httpx
import numpy as np
import skimage.data
import uvloop

from tests.support.images import saved

SAMPLE_S: Final = 0.25  # between two looks at the memory
TIMEOUT_S: Final = 300.0

Send = Callable[[], Awaitable[httpx.Response]]


@dataclass(slots=True)
class Load:
    """Seconds since the start of each answer and of its way; statuses; resident memory as (second, bytes)."""

    seconds: float = 0.0
    done_at: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    memory: list[tuple[float, int]] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return self.statuses[200] / self.seconds

    def percentile(self, share: float) -> float:
        """Seconds within which this share, in per cent, was answered."""
        return float(np.percentile(self.latencies, share))

    @property
    def memory_peak(self) -> int:
        return max(resident for _, resident in self.memory)

    def memory_after(self, answers: int) -> int:
        """Resident bytes when so many answers had been given."""
        moment = sorted(self.done_at)[answers - 1]
        return next((resident for at, resident in self.memory if at >= moment), self.memory[-1][1])

    def summary(self) -> dict[str, float]:
        return {
            "requests": len(self.latencies),
            "ok": self.statuses[200],
            "requests_per_s": self.per_second,
            "p50_ms": self.percentile(50) * 1000,
            "p90_ms": self.percentile(90) * 1000,
            "p99_ms": self.percentile(99) * 1000,
            "memory_peak_mb": self.memory_peak / 1e6,
        }


def photo(side: int = 2048) -> bytes:
    """NASA's portrait of Eileen Collins (public domain, from scikit-image) enlarged to `side` × `side`, as JPEG."""
    portrait = cv2.resize(skimage.data.astronaut(), (side, side), interpolation=cv2.INTER_CUBIC)
    return saved(portrait, "JPEG", quality=90)


def posting(
    address: str,
    path: str,
    data: bytes,
    field_name: str = "image",
    *,
    source: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
) -> Send:
    """The photo as a multipart form, as clients send it; otherwise as `sending`."""
    files = {field_name: ("photo.jpg", data, "image/jpeg")}
    return sending(httpx.Request("POST", f"{address}{path}", files=files), source=source, tls=tls)


def sending(request: httpx.Request, *, source: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Send:
    """The request, from the address `source`, each time on a connection of its own, encrypted if `tls` is given.
    Raises httpx.ReadError if no answer comes."""
    url, body = request.url, request.read()
    fields = {**request.headers, "connection": "close"}
    lines = [f"{request.method} {url.raw_path.decode()} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items())]
    whole = "\r\n".join([*lines, "", ""]).encode() + body

    async def send() -> httpx.Response:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await _exchange((url.host, url.port or 80), source, tls, whole)
        except (OSError, TimeoutError) as error:
            raise httpx.ReadError(str(error)) from None
        if not answer:
            raise httpx.ReadError("no answer")
        content = answer[answer.index(b"\r\n\r\n") + 4 :]
        return httpx.Response(int(answer[9:12]), content=content, request=request)

    return send


async def _exchange(
    server: tuple[str, int], source: str, tls: ssl.SSLContext | None, request: bytes
) -> bytes:
    """All that the server answers until it closes the connection, which is asked for by the request."""
    loop = asyncio.get_running_loop()
    make = partial(_Exchange, request, loop.create_future())
    transport, exchange = await loop.create_connection(make, *server, ssl=tls, local_addr=(source, 0))
    try:
        return await exchange.answer
    finally:
        transport.abort()


class _Exchange(asyncio.Protocol):
    """A request on a connection of its own; `answer` is all that came back."""

    def __init__(self, request: bytes, answer: asyncio.Future[bytes]) -> None:
        self.answer = answer
        self._request = request
        self._pieces: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._pieces.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.answer.done():
            return
        if exc:
            self.answer.set_exception(exc)
        else:
            self.answer.set_result(b"".join(self._pieces))


def resident(pid: int) -> int:
    """Bytes of a process and its children."""
    pids, total = [pid], 0
    while pids:
        each = pids.pop()
        try:
            total += int(Path(f"/proc/{each}/statm").read_text().split()[1]) * 4096
            for task in Path(f"/proc/{each}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def peak_resident(pid: int) -> int:
    """The most bytes that a process has ever held, its start included."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def closed_loop(send: Send, *, requests: int, concurrency: int, pid: int) -> Load:
    """So many clients, each of which sends its next request when the last one is answered."""

    async def drive(load: Load, started: float) -> None:
        left = iter(range(requests))

        async def one() -> None:
            for _ in left:
                await _timed(send, load, started)

        await asyncio.gather(*(one() for _ in range(concurrency)))

    return _run(_watched(drive, pid))


def closed_loop_by(
    processes: int, make: Callable[[], Send], *, requests: int, concurrency: int, pid: int
) -> Load:
    """`closed_loop` with its clients shared out among processes, for a service that answers more than one Python
    process can ask. `make` must be picklable."""
    processes = min(processes, concurrency)
    if processes == 1:
        return closed_loop(make(), requests=requests, concurrency=concurrency, pid=pid)
    shares = [
        (len(range(i, requests, processes)), len(range(i, concurrency, processes))) for i in range(processes)
    ]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        list(pool.map(abs, range(4 * processes)))  # So that all have started before the first of them asks.
        loads = [pool.submit(_closed_loop_of, make, *share, pid) for share in shares]
        return _together([load.result() for load in loads])


def _closed_loop_of(make: Callable[[], Send], requests: int, concurrency: int, pid: int) -> Load:
    return closed_loop(make(), requests=requests, concurrency=concurrency, pid=pid)


def _together(loads: list[Load]) -> Load:
    whole = Load(seconds=max(load.seconds for load in loads), memory=loads[0].memory)
    for load in loads:
        whole.done_at += load.done_at
        whole.latencies += load.latencies
        whole.statuses += load.statuses
    return whole


def open_loop(send: Send, *, requests: int, rate: float, pid: int, seed: int = 0) -> Load:
    """Requests at random moments, `rate` a second on average, whether the earlier ones are answered or not."""
    draws = random.Random(seed)

    async def drive(load: Load, started: float) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(requests):
                group.create_task(_timed(send, load, started))
                await asyncio.sleep(draws.expovariate(rate))

    return _run(_watched(drive, pid))


def _run(driving: Coroutine[Any, Any, Load]) -> Load:
    """By uvloop, which takes half the CPU time of Python's own loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(driving)


async def _watched(drive: Callable[[Load, float], Awaitable[None]], pid: int) -> Load:
    load, started = Load(), time.perf_counter()

    async def watch() -> None:
        while True:
            load.memory.append((time.perf_counter() - started, resident(pid)))
            await asyncio.sleep(SAMPLE_S)

    watching = asyncio.create_task(watch())
    try:
        await drive(load, started)
    finally:
        watching.cancel()
    load.seconds = time.perf_counter() - started
    load.memory.append((load.seconds, resident(pid)))
    return load


async def _timed(send: Send, load: Load, started: float) -> None:
    sent = time.perf_counter()
    response = await send()
    done = time.perf_counter()
    load.statuses[response.status_code] += 1
    load.latencies.append(done - sent)
    load.done_at.append(done - started)
