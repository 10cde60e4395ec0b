"""Every speed target of the service in one run, met or not. Some ten minutes on two cores.

    .venv/bin/python -m tests.bench.bench_targets [--soak 5000] [--venv DIR] [--model ARTIFACT] [--json OUT.json]

One 4.2-megapixel portrait throughout. Ratios are between figures of this run; rembg (`bench_peers`) runs the same
network and weights, asked in turns with the service. Exit status 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from app.inference.predictor import LARGEST_ON_CPU
from app.settings import BUILT_IN_MODEL
from tests.bench import bench_stages
from tests.bench.bench_batching import Bare, bare_network
from tests.bench.bench_peers import Turns, compare
from tests.bench.cpu_share import watched
from tests.bench.load import Load, closed_loop, peak_resident, photo, posting
from tests.bench.peer_figures import BARS, BUSY, Comparison, table
from tests.bench.peer_rembg import default_venv
from tests.support.servers import serving

SIDE = 2048
SETTLED = 200  # requests after which memory should have found its level
HOUSE_FULL = 64  # requests at once
BARE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Target:
    """A figure, what is demanded of it and what is hoped for."""

    title: str
    value: float
    bar: float
    goal: float
    unit: str = ""

    def reached(self, limit: float) -> bool:
        return self.value >= limit if self.goal > self.bar else self.value <= limit

    def row(self) -> str:
        sign = "≥" if self.goal > self.bar else "≤"
        met = "goal" if self.reached(self.goal) else "bar" if self.reached(self.bar) else "MISSED"
        limits = f"{sign} {self.bar:g} ({sign} {self.goal:g}){self.unit}"
        return f"{self.title:58s} {self.value:8.3f}{self.unit:4s} {limits:22s} {met}"


@dataclass(frozen=True, slots=True)
class Endurance:
    """Seconds to ready, of a start with a warm disk; a full service: its load, its peak in bytes, memory at its end
    to that after SETTLED requests; and the share of the CPUs that others took."""

    ready_s: float
    soak: Load
    peak: int
    growth: float
    others: float


def endure(artifact: Path, requests: int) -> Endurance:
    data = photo(SIDE)
    with serving(artifact):
        pass  # The second start finds its files in the disk's cache.
    started = time.perf_counter()
    with serving(artifact) as (process, address):
        ready_s = time.perf_counter() - started
        pid, send = process.child.pid, posting(address, "/v1/matte", data)
        work = partial(closed_loop, send, requests=requests, concurrency=HOUSE_FULL, pid=pid)
        load, cpu = watched(pid, work)
        growth = load.memory_after(requests) / load.memory_after(SETTLED)
        return Endurance(ready_s, load, peak_resident(pid), growth, cpu.others)


def targets(
    comparison: Comparison, bare: Bare, stages: bench_stages.Stages, endurance: Endurance
) -> Iterator[Target]:
    at_8 = comparison.service.summary("matte at 8")["requests_per_s"]
    for bar in BARS:
        yield Target(f"{bar.title}, ÷ rembg's", comparison.ratios[bar.title].median, bar.bar, bar.goal)
    yield Target("requests/s, matte at 8, ÷ the bare network's loop", at_8 / bare.per_second, 0.75, 0.85)
    yield Target("CPU outside the network per matte", stages.matte_ms, 30, 18, " ms")
    yield Target(
        f"memory after {len(endurance.soak.latencies)} requests ÷ after {SETTLED}",
        endurance.growth,
        1.05,
        1.02,
    )
    yield Target(f"peak memory, {HOUSE_FULL} at once", endurance.peak / 1e9, 1.5, 1.0, " GB")
    yield Target("start to ready", endurance.ready_s, 10, 5, " s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--soak", type=int, default=5000)
    parser.add_argument("--venv", type=Path, default=default_venv(), help="of rembg; made if missing")
    parser.add_argument("--model", type=Path, default=BUILT_IN_MODEL)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    comparison = compare(options.model, options.venv, Turns(side=SIDE))
    bare = bare_network(options.model, LARGEST_ON_CPU, BARE_SECONDS)
    stages = bench_stages.measure(SIDE, options.model)
    endurance = endure(options.model, options.soak)
    found = list(targets(comparison, bare, stages, endurance))
    others = max(endurance.others, *(comparison.others(bar.task) for bar in BARS))
    print(table(comparison))
    print(f"bare network's loop {bare.per_second:.1f} pictures/s, CPU {bare.cpu_ms:.1f} ms each")
    print(f"service full: {endurance.soak.per_second:.2f} requests/s, {dict(endurance.soak.statuses)}\n")
    print("\n".join(target.row() for target in found))
    print(f"\nothers took up to {others:.0%} of the CPUs" + ("" if others <= BUSY else ": measure again"))
    if options.json:
        figures = {"targets": [asdict(target) for target in found], "others": others}
        options.json.write_text(json.dumps(figures | {"comparison": comparison.summary()}, indent=1))
    sys.exit(0 if all(target.reached(target.bar) for target in found) else 1)


if __name__ == "__main__":
    main()
