"""The service under load: requests per second, latencies, memory.

    .venv/bin/python -m tests.bench.bench_service [--requests 200] [--concurrency 1 8 64] [--rate 5] [--side 2048]
        [--paths /v1/matte /v1/cutout] [--device cuda] [--clients 4] [--soak 5000] [--json OUT.json] [--plot OUT.png]

Starts `python -m app serve` on this machine and posts one 4.2-megapixel portrait to it, closed-loop with each
concurrency and, with --rate, open-loop. --clients asks from so many processes, where one cannot ask fast enough.
--soak sends so many requests at concurrency 64 and tells the memory at the end beside the memory after 200.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from itertools import product
from pathlib import Path

from app.settings import BUILT_IN_MODEL
from tests.bench.load import Load, closed_loop, closed_loop_by, open_loop, photo, posting
from tests.support.servers import serving

SOAK_CONCURRENCY = 64
SETTLED = 200  # requests after which memory should have found its level


def tell(name: str, load: Load) -> None:
    figures = load.summary()
    statuses = ", ".join(f"{count} × {status}" for status, count in sorted(load.statuses.items()))
    print(
        f"{name:24s} {figures['requests_per_s']:6.2f} requests/s   p50 {figures['p50_ms']:7.0f} ms   "
        f"p99 {figures['p99_ms']:7.0f} ms   peak {figures['memory_peak_mb']:6.0f} MB   {statuses}"
    )


def plot(loads: dict[str, Load], path: Path) -> None:
    from matplotlib import pyplot as plt

    figure, (times, memory) = plt.subplots(1, 2, figsize=(13, 4.5), layout="constrained")
    for name, load in loads.items():
        times.ecdf([latency * 1000 for latency in load.latencies], label=name)
        memory.plot(*zip(*((at, resident / 1e6) for at, resident in load.memory), strict=True), label=name)
    times.set(xlabel="latency, ms", ylabel="share of the answers", xscale="log")
    memory.set(xlabel="seconds", ylabel="resident memory, MB", ylim=(0, None))
    times.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=BUILT_IN_MODEL)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--concurrency", type=int, nargs="*", default=[1, 8, 64])
    parser.add_argument("--rate", type=float)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--paths", nargs="+", default=["/v1/matte"])
    parser.add_argument("--device", default="cpu", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--soak", type=int)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    data = photo(options.side)
    started = time.perf_counter()
    loads = {}
    with serving(options.model, MATTE_DEVICE=options.device) as (process, address):
        print(f"ready after {time.perf_counter() - started:.1f} s; a photo of {len(data) / 1000:.0f} kB")
        send, pid = posting(address, options.paths[0], data), process.child.pid
        closed_loop(send, requests=16, concurrency=8, pid=pid)
        for path, concurrency in product(options.paths, options.concurrency):
            name = f"{path}, closed, {concurrency}"
            make = partial(posting, address, path, data)
            loads[name] = closed_loop_by(
                options.clients, make, requests=options.requests, concurrency=concurrency, pid=pid
            )
            tell(name, loads[name])
        if options.rate:
            name = f"open, {options.rate:g}/s"
            loads[name] = open_loop(send, requests=options.requests, rate=options.rate, pid=pid)
            tell(name, loads[name])
        if options.soak:
            soak = closed_loop(send, requests=options.soak, concurrency=SOAK_CONCURRENCY, pid=pid)
            loads["soak"] = soak
            tell("soak", soak)
            ratio = soak.memory_after(options.soak) / soak.memory_after(SETTLED)
            print(f"memory after {options.soak} requests ÷ after {SETTLED}: {ratio:.3f}")
    if options.json:
        options.json.write_text(json.dumps({name: load.summary() for name, load in loads.items()}, indent=1))
    if options.plot:
        plot(loads, options.plot)


if __name__ == "__main__":
    main()
