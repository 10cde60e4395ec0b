"""Photos through the plain command, and through `bulk` on a Ray cluster of one and of two nodes of this machine.

    .venv/bin/python -m tests.bench.bench_bulk [--photos 192] [--side 1024] [--runs 3] [--model ARTIFACT]

    plain     the matte command, all cores in one process
    1 node    one worker with all cores
    2 nodes   two workers with half of the cores each
    split     decode, network and finish in workers of their own, which share the cores

All have the same cores. So two nodes cannot be faster than one here: the figures show what Ray takes, not how it
scales over machines. Each way is run with all photos and with one photo, which is what starting takes; pictures a
second are by the difference. With two nodes that is rough, because the second worker may be starting while the first
one works: compare whole times. Ways take turns; medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import astuple, dataclass
from pathlib import Path

from app.settings import BUILT_IN_MODEL, load_settings
from tests.bench.load import photo

STORE_BYTES = 200_000_000


@dataclass(frozen=True, slots=True)
class Way:
    """Cores of each Ray node; none for the plain command."""

    name: str
    nodes: tuple[int, ...] = ()
    more: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds from the command to its end, for one photo and for all; of the latter without the former, pictures a
    second."""

    start_s: float
    whole_s: float
    per_second: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=192)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--model", type=Path, default=BUILT_IN_MODEL)
    options = parser.parse_args()
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "MATTE_MODEL_DIR": str(options.model)}
    cores = load_settings().core_count
    ways = (
        Way("plain"),
        Way("1 node", (cores,)),
        Way("2 nodes", (max(1, cores // 2),) * 2),
        Way("split", (max(3, cores),), ("--split",)),
    )
    figures: dict[str, list[Figures]] = {way.name: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        sources = [Path(folder, name) for name in ("one", "all")]
        data = photo(options.side)
        for source, count in zip(sources, (1, options.photos), strict=True):
            source.mkdir()
            for number in range(count):
                (source / f"{number:05d}.jpg").write_bytes(data)
        for run in range(options.runs):
            for way in ways:
                seen = measure(way, sources, Path(folder, f"{way.name} {run}"))
                figures[way.name].append(seen)
                print(f"{way.name:8s} {_line(seen)}   load {os.getloadavg()[0]:.1f}", flush=True)
    for name, seen in figures.items():
        medians = map(statistics.median, zip(*map(astuple, seen), strict=True))
        print(f"median   {name:8s} {_line(Figures(*medians))}")


def _line(seen: Figures) -> str:
    speed = f"{seen.per_second:6.1f}/s"
    return f"{speed}   start {seen.start_s:5.1f} s   all {seen.whole_s:6.1f} s"


def measure(way: Way, sources: Sequence[Path], out: Path) -> Figures:
    """One photo, then all."""
    took = []
    with cluster(way.nodes) if way.nodes else nullcontext("") as address:
        for source in sources:
            target = out / source.name
            command = ["matte", str(source), "-o", str(target)]
            if address:
                command = ["bulk", str(source), str(target), "--address", address, *way.more]
            started = time.perf_counter()
            subprocess.run([sys.executable, "-m", "app", *command], check=True, stderr=subprocess.DEVNULL)
            took.append(time.perf_counter() - started)
    more = len(list(sources[1].iterdir())) - 1
    return Figures(*took, more / (took[1] - took[0]))


@contextmanager
def cluster(nodes: Sequence[int]) -> Iterator[str]:
    """Raylets on this machine, the job's own without cores and one for each of `nodes`. The address."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    try:
        for cpus in nodes:
            made.add_node(num_cpus=cpus, object_store_memory=STORE_BYTES)
        yield str(made.address)
    finally:
        made.shutdown()


if __name__ == "__main__":
    main()
