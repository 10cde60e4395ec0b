"""More requests than the service can take: how much good work is left, and how well is the rest turned away?

    .venv/bin/python -m tests.bench.overload [--times 4] [--seconds 30] [--path /v1/cutout] [--side 1024]
        [--capacity-requests 300] [--cores 2] [--turns 1] [--proxy] [--json OUT.json]

Starts `python -m app serve` on this machine, measures its capacity closed-loop, and then sends `--times` as many
requests a second at random moments, whether the earlier ones are answered or not; afterwards it measures the capacity
again: on a machine that others use it changes from one minute to the next. The client shares the machine: what making
and sending the requests costs it is missing from the service's throughput, and told, unless --cores parts the two: so
many for the service, the others for the client. All of it comes from one address; from another, a neighbour sends one
request after the other meanwhile. With --turns all of this is done so many times, and the shares are told with their
standard errors: two measurements of the capacity differ by several per cent. With --proxy, all of it but the health
checks goes by HTTPS through docker/proxy's nginx with its own limits, each request with a handshake of its own; nginx
shares the client's cores. Exits with 1 after a 5xx or a lost answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import httpx
import numpy as np

from app.settings import BUILT_IN_MODEL
from tests.bench.footprint import gauges
from tests.bench.load import Load, Send, closed_loop, open_loop, photo, posting, resident
from tests.bench.pulse import Pulse, feeling
from tests.docker.proxied import proxy
from tests.support.servers import serving

CAPACITY_CONCURRENCY: Final = 16
LONE: Final = 5  # requests by themselves, for the latency that recovery is measured by
RECOVERED: Final = 1.5  # times that latency
RECOVERY_MAX_S: Final = 120.0
NEIGHBOUR_PAUSE_S: Final = 0.5
BELIEVES_PROXY: Final = {"MATTE_TRUSTED_PROXIES": "127.0.0.1"}  # as docker-compose.yml does
LOST: Final = 599  # stands for no answer; no service sends it


@dataclass(slots=True)
class Witness:
    """Passes requests on, and keeps of each when it was sent, how long it took, and its status."""

    send: Send
    sent: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    async def __call__(self) -> httpx.Response:
        started = time.perf_counter()
        try:
            answer = await self.send()
        except httpx.TransportError:
            answer = httpx.Response(LOST)
        self.sent.append(started)
        self.took.append(time.perf_counter() - started)
        self.statuses.append(answer.status_code)
        return answer

    def seconds_of(self, status: int) -> list[float]:
        return [took for took, each in zip(self.took, self.statuses, strict=True) if each == status]

    def good_until(self, moment: float) -> int:
        """Pictures that had come by then."""
        every = zip(self.sent, self.took, self.statuses, strict=True)
        return sum(status == 200 and sent + took <= moment for sent, took, status in every)


@dataclass(frozen=True, slots=True)
class Overload:
    """Rates are per second, shares 0..1, memory in MB. `capacity`: the mean of before and after. `good`: the
    neighbour's answers, too. `good_share_of_what_was_left`: of the capacity without what the client took of the
    machine for the flood. `recovery_s`: from the last request of the flood until a lone one of its address took its
    usual time again; None if it never did."""

    capacity: float
    capacity_before: float
    capacity_after: float
    offered: float
    good: float
    good_share_of_capacity: float
    good_share_of_what_was_left: float
    client_cores: float
    client_cores_before: float
    accepted_p50_s: float
    accepted_p99_s: float
    refused_share: float
    refused_p50_ms: float
    refused_p99_ms: float
    memory_before_mb: float
    memory_peak_mb: float
    memory_after_mb: float
    neighbour_p50_s: float
    neighbour_p99_s: float
    neighbour_refused: int
    health_p99_ms: float
    health_missed: int
    lone_s: float
    drained_s: float
    recovery_s: float | None
    statuses: dict[str, int]


async def lone(send: Send, count: int) -> list[float]:
    """Seconds of requests that come one after the other."""
    seconds = []
    for _ in range(count):
        started = time.perf_counter()
        (await send()).raise_for_status()
        seconds.append(time.perf_counter() - started)
    return seconds


@contextmanager
def neighbour(send: Send) -> Iterator[Witness]:
    """Another client, in a thread of its own: one request after the other, with a pause."""
    witness, over = Witness(send), threading.Event()

    async def live() -> None:
        while not over.is_set():
            await witness()
            await asyncio.sleep(NEIGHBOUR_PAUSE_S)

    living = threading.Thread(target=asyncio.run, args=[live()])
    living.start()
    try:
        yield witness
    finally:
        over.set()
        living.join()


def flood(send: Send, other: Send, address: str, pid: int, options: argparse.Namespace) -> Overload:
    """All of it against one service."""
    usual = float(np.median(asyncio.run(lone(send, LONE))))
    capacity_before, calm_cores = capacity_of(send, pid, options)
    before, witness = resident(pid), Witness(send)
    rate = capacity_before * options.times
    pulse, own = Pulse(), time.process_time()
    with neighbour(other) as beside, feeling(address, pulse):
        load = open_loop(witness, requests=round(rate * options.seconds), rate=rate, pid=pid)
    first, last = min(witness.sent), max(witness.sent)
    answered = max(sent + took for sent, took in zip(witness.sent, witness.took, strict=True))
    recovered = recover(send, usual, last)
    asyncio.run(empty(address))
    good = (witness.good_until(last) + beside.good_until(last)) / (last - first)
    client_cores = (time.process_time() - own) / load.seconds
    after = resident(pid)
    capacity_after, _ = capacity_of(send, pid, options)
    capacity = (capacity_before + capacity_after) / 2
    cores = len(os.sched_getaffinity(0))
    left = 1.0 if options.cores else (cores - client_cores) / (cores - calm_cores)
    others = beside.seconds_of(200) or [float("nan")]
    accepted, refused = witness.seconds_of(200), witness.seconds_of(429) or [float("nan")]
    return Overload(
        capacity=capacity,
        capacity_before=capacity_before,
        capacity_after=capacity_after,
        offered=len(witness.sent) / (last - first),
        good=good,
        good_share_of_capacity=good / capacity,
        good_share_of_what_was_left=good / (capacity * left),
        client_cores=client_cores,
        client_cores_before=calm_cores,
        accepted_p50_s=float(np.percentile(accepted, 50)),
        accepted_p99_s=float(np.percentile(accepted, 99)),
        refused_share=load.statuses[429] / len(witness.sent),
        refused_p50_ms=float(np.percentile(refused, 50)) * 1000,
        refused_p99_ms=float(np.percentile(refused, 99)) * 1000,
        memory_before_mb=before / 1e6,
        memory_peak_mb=load.memory_peak / 1e6,
        memory_after_mb=after / 1e6,
        neighbour_p50_s=float(np.percentile(others, 50)),
        neighbour_p99_s=float(np.percentile(others, 99)),
        neighbour_refused=sum(status != 200 for status in beside.statuses),
        health_p99_ms=float(np.percentile(pulse.took_ms, 99)),
        health_missed=len(pulse.missed),
        lone_s=usual,
        drained_s=answered - last,
        recovery_s=recovered,
        statuses=told(load),
    )


def capacity_of(send: Send, pid: int, options: argparse.Namespace) -> tuple[float, float]:
    """Answers per second with enough to do, and the cores that the client takes meanwhile."""
    own = time.process_time()
    load = closed_loop(send, requests=options.capacity_requests, concurrency=CAPACITY_CONCURRENCY, pid=pid)
    return load.per_second, (time.process_time() - own) / load.seconds


def recover(send: Send, usual: float, last: float) -> float | None:
    """Seconds from the moment `last` until a lone request takes its usual time again."""
    while time.perf_counter() - last < RECOVERY_MAX_S:
        (took,) = asyncio.run(lone(send, 1))
        if took <= RECOVERED * usual:
            return time.perf_counter() - last
    return None


async def empty(address: str) -> None:
    """Raises TimeoutError if the gauges don't go back to 0: a place was lost."""
    async with asyncio.timeout(RECOVERY_MAX_S):
        while await gauges(address):
            await asyncio.sleep(0.1)


def told(load: Load) -> dict[str, int]:
    names: Counter[str] = Counter()
    for status, count in load.statuses.items():
        names["lost" if status == LOST else str(status)] += count
    return dict(sorted(names.items()))


def tell(found: Overload) -> None:
    recovery = "never" if found.recovery_s is None else f"after {found.recovery_s:.1f} s"
    statuses = ", ".join(f"{count} × {status}" for status, count in found.statuses.items())
    print(
        f"capacity  {found.capacity:.2f} requests/s ({found.capacity_before:.2f} before, "
        f"{found.capacity_after:.2f} after), offered {found.offered:.2f} ({statuses})\n"
        f"good      {found.good:.2f} requests/s, {found.good_share_of_capacity:.0%} of capacity, "
        f"{found.good_share_of_what_was_left:.0%} of what the client left of it\n"
        f"client    {found.client_cores:.2f} cores of this machine, {found.client_cores_before:.2f} before\n"
        f"accepted  p50 {found.accepted_p50_s:.1f} s, p99 {found.accepted_p99_s:.1f} s\n"
        f"refused   {found.refused_share:.0%}, p50 {found.refused_p50_ms:.0f} ms, "
        f"p99 {found.refused_p99_ms:.0f} ms\n"
        f"neighbour p50 {found.neighbour_p50_s:.2f} s, p99 {found.neighbour_p99_s:.2f} s, "
        f"{found.neighbour_refused} refused\n"
        f"health    p99 {found.health_p99_ms:.0f} ms, {found.health_missed} missed\n"
        f"memory    {found.memory_before_mb:.0f} MB before, peak {found.memory_peak_mb:.0f} MB, "
        f"{found.memory_after_mb:.0f} MB after\n"
        f"recovery  last answer {found.drained_s:.1f} s after the last request; a lone request takes its usual "
        f"{found.lone_s:.2f} s {recovery}"
    )


def tell_together(floods: Sequence[Overload]) -> None:
    """The means over several turns, with their standard errors."""
    for name, text in (
        ("good_share_of_capacity", "of capacity"),
        ("good_share_of_what_was_left", "of what the client left of it"),
    ):
        shares = np.array([getattr(found, name) for found in floods])
        error = shares.std(ddof=1) / len(shares) ** 0.5
        print(f"good      {shares.mean():.1%} ± {error:.1%} {text}, mean of {len(shares)} turns")


@contextmanager
def entrance(address: str, *, proxied: bool) -> Iterator[tuple[str, ssl.SSLContext | None]]:
    """Where requests go in: the service itself, or the nginx in front of it and the certificate to believe."""
    if not proxied:
        yield address, None
        return
    with proxy(address.removeprefix("http://")) as nginx:
        yield f"https://127.0.0.1:{nginx.ports['HTTPS']}", nginx.tls()


def parted(cores: int) -> str:
    """Keeps this process off the machine's first so many cores; gives the shell command that puts another on them."""
    every = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, every[cores:])
    return f"taskset -pc {','.join(map(str, every[:cores]))} $$ > /dev/null"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=BUILT_IN_MODEL)
    parser.add_argument("--times", type=float, default=4.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--path", default="/v1/cutout")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--capacity-requests", type=int, default=300)
    parser.add_argument("--cores", type=int)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--proxy", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    limits = parted(options.cores) if options.cores else ":"
    believed = BELIEVES_PROXY if options.proxy else {}
    with (
        serving(options.model, limits=limits, **believed) as (process, address),
        entrance(address, proxied=options.proxy) as (outside, tls),
    ):
        picture = photo(options.side)
        send = posting(outside, options.path, picture, tls=tls)
        other = posting(outside, options.path, picture, source="127.0.0.2", tls=tls)
        floods = []
        for _ in range(options.turns):
            floods.append(flood(send, other, address, process.child.pid, options))
            tell(floods[-1])
    if len(floods) > 1:
        tell_together(floods)
    if options.json:
        options.json.write_text(json.dumps([asdict(found) for found in floods], indent=1))
    statuses = {status for found in floods for status in found.statuses}
    return 1 if any(status == "lost" or status.startswith("5") for status in statuses) else 0


if __name__ == "__main__":
    sys.exit(main())
