"""What runs the network best on this CPU: TensorFlow and OpenVINO in turns, each time in a process of its own.

    .venv/bin/python -m tests.bench.bench_runtimes [--lanes 1 2] [--rounds 3] [--seconds 4] [--precision auto]

Loops, one for each lane, that do nothing but call the network with full batches. Loading includes the imports that
the runtime needs; memory is the process's after loading, and its peak by the end. Each figure is the median of the
rounds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from app.inference import predictor
from app.inference.backends.precision import Precision
from app.inference.backends.select import Runtime
from app.settings import BUILT_IN_MODEL


@dataclass(frozen=True, slots=True)
class Rival:
    """What runs it, with so many pictures in a batch, in so many lanes."""

    runtime: Runtime
    batch: int
    lanes: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds until it is loaded, memory then and at its peak in megabytes, CPU milliseconds per picture, pictures
    per second by the clock."""

    load_s: float
    memory_mb: float
    peak_mb: float
    cpu_ms: float
    per_second: float


def measured(artifact: Path, rival: Rival, precision: Precision, seconds: float) -> tuple[str, Figures]:
    """The precision that was chosen, and the figures."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_loop, artifact, rival, precision, seconds).result()


def _loop(artifact: Path, rival: Rival, precision: Precision, seconds: float) -> tuple[str, Figures]:
    begun = time.perf_counter()
    model = predictor.load(
        artifact,
        device="cpu",
        precision=precision,
        max_batch_size=rival.batch,
        runtime=rival.runtime,
        lanes=rival.lanes,
        cores=rival.lanes,
    )
    load_s = time.perf_counter() - begun
    memory = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    side = model.input_size
    pictures = np.random.default_rng(0).integers(0, 256, (rival.batch, side, side, 3), np.uint8)
    started, cpu = time.perf_counter(), time.process_time()

    def lane(_number: int) -> int:
        count = 0
        while time.perf_counter() - started < seconds:
            model.predict(pictures)
            count += rival.batch
        return count

    with ThreadPoolExecutor(rival.lanes) as pool:
        count = sum(pool.map(lane, range(rival.lanes)))
    elapsed = time.perf_counter() - started
    cpu_ms = (time.process_time() - cpu) / count * 1000
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return model.precision, Figures(load_s, memory / 1e6, peak / 1e6, cpu_ms, count / elapsed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--model", type=Path, default=BUILT_IN_MODEL)
    options = parser.parse_args()
    rivals = [
        Rival(runtime, batch, lanes)
        for lanes in options.lanes
        for runtime, batch in (("tensorflow", 1), ("tensorflow", 2), ("openvino", 1))
    ]
    found: dict[Rival, list[Figures]] = {rival: [] for rival in rivals}
    precisions = {}
    for _ in range(options.rounds):
        for rival in rivals:
            precisions[rival], figures = measured(options.model, rival, options.precision, options.seconds)
            found[rival].append(figures)
    for rival, rounds in found.items():
        middle = Figures(*(statistics.median(each) for each in zip(*map(astuple, rounds), strict=True)))
        print(
            f"{rival.lanes} lanes  {rival.runtime:10s} {precisions[rival]:8s} batch {rival.batch}: "
            f"loaded in {middle.load_s:4.1f} s, {middle.memory_mb:5.0f} MB, peak {middle.peak_mb:5.0f} MB, "
            f"{middle.cpu_ms:6.1f} ms CPU per picture, {middle.per_second:5.1f} pictures/s"
        )


if __name__ == "__main__":
    main()
