"""How large batches should be on this machine: the bare network and the service, by the largest batch, where
TensorFlow runs it: OpenVINO takes one picture at a time.

    .venv/bin/python -m tests.bench.bench_batching [--sizes 1 2 4 8] [--seconds 5] [--requests 150] [--model ARTIFACT]

Network: loops, one for each lane, that do nothing but call it with full batches. Service: 4.2-megapixel mattes over
HTTP, 8 at once.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from app.inference import predictor
from app.inference.backends.select import Runtime
from app.settings import BUILT_IN_MODEL, load_settings
from tests.bench.cpu_share import watched
from tests.bench.load import closed_loop, photo, posting
from tests.support.servers import serving

CONCURRENCY = 8
WARM_UP = 24  # requests


@dataclass(frozen=True, slots=True)
class Bare:
    """The network's loop: pictures per second by the clock, CPU milliseconds per picture."""

    per_second: float
    cpu_ms: float


def bare_network(artifact: Path, batch: int, seconds: float, runtime: Runtime = "auto") -> Bare:
    """In a process of its own, so that nothing of it is left in this one."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_loop, artifact, batch, seconds, runtime).result()


def _loop(artifact: Path, batch: int, seconds: float, runtime: Runtime) -> Bare:
    cores = load_settings().core_count
    model = predictor.load(
        artifact, device="cpu", precision="auto", max_batch_size=batch, runtime=runtime, cores=cores
    )
    side = model.input_size
    pictures = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), np.uint8)
    started, cpu = time.perf_counter(), time.process_time()

    def lane(_number: int) -> int:
        count = 0
        while time.perf_counter() - started < seconds:
            model.predict(pictures)
            count += batch
        return count

    with ThreadPoolExecutor(model.lanes) as pool:
        count = sum(pool.map(lane, range(model.lanes)))
    elapsed = time.perf_counter() - started
    return Bare(count / elapsed, (time.process_time() - cpu) / count * 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--requests", type=int, default=150)
    parser.add_argument("--model", type=Path, default=BUILT_IN_MODEL)
    options = parser.parse_args()
    data = photo()
    for size in options.sizes:
        bare = bare_network(options.model, size, options.seconds, "tensorflow")
        with serving(options.model, MATTE_MAX_BATCH_SIZE=str(size), MATTE_RUNTIME="tensorflow") as (
            process,
            address,
        ):
            send, pid = posting(address, "/v1/matte", data), process.child.pid
            closed_loop(send, requests=WARM_UP, concurrency=CONCURRENCY, pid=pid)
            work = partial(closed_loop, send, requests=options.requests, concurrency=CONCURRENCY, pid=pid)
            load, cpu = watched(pid, work)
        print(
            f"batch {size:3d}   network {bare.per_second:6.1f}/s, CPU {bare.cpu_ms:5.1f} ms each   "
            f"service {load.per_second:6.2f}/s, CPU {cpu.server_s / options.requests * 1000:5.1f} ms each, "
            f"p50 {load.percentile(50) * 1000:5.0f} ms, peak {load.memory_peak / 1e6:5.0f} MB   "
            f"others {cpu.others:3.0%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
