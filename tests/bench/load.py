"""Load on a service and what it does: requests closed-loop or open-loop, latencies, the process's memory meanwhile.

In: an address and the request to send. Out: a Load. Client and service share the machine; what a client costs is in
the figures of every service alike.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import cv2
import httpx
import numpy as np
import skimage.data

from tests.portraits import saved

SAMPLE_S: Final = 0.25  # between two looks at the memory
TIMEOUT_S: Final = 300.0

Send = Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]


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


def posting(address: str, path: str, data: bytes, field_name: str = "image") -> Send:
    """The photo as a multipart form, as clients send it."""

    async def send(client: httpx.AsyncClient) -> httpx.Response:
        return await client.post(f"{address}{path}", files={field_name: ("photo.jpg", data, "image/jpeg")})

    return send


def posting_lightly(address: str, path: str, data: bytes, source: str = "127.0.0.1") -> Send:
    """The photo as the body, over a bare socket from the address `source`: little work beside that of an HTTP client,
    for loads that must not be limited by the client's. Raises httpx.ReadError if no answer comes."""
    place = urlsplit(address)
    request = httpx.Request("POST", f"{address}{path}")
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: image/jpeg\r\n"
        f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    ).encode()

    async def send(_client: httpx.AsyncClient) -> httpx.Response:
        reader, writer = await asyncio.open_connection(place.hostname, place.port, local_addr=(source, 0))
        try:
            writer.write(head + data)
            answer = await reader.read()
        except OSError as error:
            raise httpx.ReadError(str(error)) from None
        finally:
            writer.transport.abort()
        if not answer:
            raise httpx.ReadError("no answer")
        return httpx.Response(int(answer[9:12]), content=answer.partition(b"\r\n\r\n")[2], request=request)

    return send


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

    async def drive(client: httpx.AsyncClient, load: Load, started: float) -> None:
        left = iter(range(requests))

        async def one() -> None:
            for _ in left:
                await _timed(send, client, load, started)

        await asyncio.gather(*(one() for _ in range(concurrency)))

    return asyncio.run(_watched(drive, concurrency, pid))


def open_loop(send: Send, *, requests: int, rate: float, pid: int, seed: int = 0) -> Load:
    """Requests at random moments, `rate` a second on average, whether the earlier ones are answered or not."""
    draws = random.Random(seed)

    async def drive(client: httpx.AsyncClient, load: Load, started: float) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(requests):
                group.create_task(_timed(send, client, load, started))
                await asyncio.sleep(draws.expovariate(rate))

    return asyncio.run(_watched(drive, requests, pid))


async def _watched(
    drive: Callable[[httpx.AsyncClient, Load, float], Awaitable[None]], connections: int, pid: int
) -> Load:
    load, started = Load(), time.perf_counter()

    async def watch() -> None:
        while True:
            load.memory.append((time.perf_counter() - started, resident(pid)))
            await asyncio.sleep(SAMPLE_S)

    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    async with httpx.AsyncClient(limits=limits, timeout=TIMEOUT_S) as client:
        watching = asyncio.create_task(watch())
        try:
            await drive(client, load, started)
        finally:
            watching.cancel()
    load.seconds = time.perf_counter() - started
    load.memory.append((load.seconds, resident(pid)))
    return load


async def _timed(send: Send, client: httpx.AsyncClient, load: Load, started: float) -> None:
    sent = time.perf_counter()
    response = await send(client)
    done = time.perf_counter()
    load.statuses[response.status_code] += 1
    load.latencies.append(done - sent)
    load.done_at.append(done - started)
