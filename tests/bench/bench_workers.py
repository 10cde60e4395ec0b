"""Front ends that share an inference process, beside one process that does everything: mattes a second, CPU by part.

    .venv/bin/python -m tests.bench.bench_workers [--workers 0 1 2] [--requests 400] [--concurrency 32] [--side 2048]
        [--path /v1/matte] [--clients 2] [--batch-ms 7] [--turns 2] [--squares 3000] [--json OUT.json]

The network is a stand-in of 320 × 320 that sleeps for 7 ms, as a GPU lets its process sleep, whatever the batch's
size, up to 16, and says that an ellipse is the person. 0 workers are a single process. Clients share the machine.
--squares sends so many squares to the inference process alone, 48 at once, without photos: the most that it can do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import cv2
import httpx
import numpy as np
import uvloop

from app.cli import serve
from app.concurrency.watchdog import Watchdog
from app.inference import registry
from app.inference.backends.base import Alphas, Batch
from app.inference.registry import model_source
from app.inference.remote import process
from app.inference.remote.front_end import InferenceProcesses
from app.inference.remote.link import Link
from app.inference.repository import ModelVersion
from app.inference.servable import DeviceContext, gather
from app.main import create_app
from app.observability.metrics import Metrics
from app.server.supervisor import InferenceProcess, Plan, WorkerProcess, supervise
from app.settings import Settings, load_settings
from model.contract import Manifest
from tests.bench.cpu_share import cpu_seconds
from tests.bench.load import closed_loop_by, photo, posting
from tests.support.servers import NOWHERE, PATIENCE_S, Process, serving

SIDE = 320
STAND_IN = Manifest("stand-in", "0", input_size=SIDE, geometry="stretch", files={})
LARGEST = 16
AT_ONCE = 3 * LARGEST
PROGRAM = ("-m", "tests.bench.bench_workers")


@dataclass(frozen=True)
class Figures:
    """Of one set-up; CPU in milliseconds a request."""

    workers: int
    per_second: float
    p50_ms: float
    p99_ms: float
    front_ends_ms: float
    inference_ms: float
    pictures_in_a_batch: float
    statuses: dict[int, int]


@cache
def ellipse() -> Alphas:
    drawn = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(drawn, (SIDE // 2, SIDE // 2), (SIDE // 4, SIDE // 3), 0, 0, 360, 255, -1)
    return cv2.GaussianBlur(drawn, (0, 0), 3).astype(np.float32) / 255


def network(batch_s: float, batch: Batch) -> Alphas:
    time.sleep(batch_s)
    return np.broadcast_to(ellipse(), batch.shape[:3])


def serve_as_told(batch_ms: float, workers: int, told: list[str]) -> None:
    """What the programs of a set-up do: the supervisor, a worker, an inference process, or all in one."""
    registry.STAND_IN = STAND_IN  # type: ignore[misc]
    predict = partial(network, batch_ms / 1000)
    serve.create_app = partial(create_app, predict=predict)
    stand_in = model_source(settings := load_settings(), predict)
    process.loader = lambda _settings, _gpu: lambda _path: stand_in.load(stand_in.scan()[0])
    command = (sys.executable, *PROGRAM, "--batch-ms", str(batch_ms), "--serve", str(workers))
    match told:
        case "--inference", text:
            serve.serve_inference(InferenceProcess.parse(text))
        case "--member", text:
            serve.serve(None, None, WorkerProcess.parse(text))
        case _ if workers:
            serve.configure_logs("info")
            with serve._listen("127.0.0.1", 0) as listener:
                sys.exit(supervise(Plan(workers, 1, command, settings.drain_timeout_ms / 1000), listener))
        case _:
            serve.serve(None, 0)


def ready(running: Process, count: int) -> None:
    def lines() -> int:
        return sum(line["message"] == "ready" for line in running.lines)

    with running.arrived:
        assert running.arrived.wait_for(lambda: lines() >= count, PATIENCE_S), running.lines


def parts(pid: int, workers: int) -> tuple[list[int], list[int]]:
    """The processes of the front ends and of the inference."""
    if not workers:
        return [pid], []
    pids = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    inference = [each for each in pids if b"--inference" in Path(f"/proc/{each}/cmdline").read_bytes()]
    return [each for each in pids if each not in inference], inference


def batch_size(address: str) -> Callable[[], float]:
    """A function that tells the mean size of the batches since this call."""

    def read(name: str) -> float:
        page = httpx.get(f"{address}/metrics").text.splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in page if line.startswith(f"matte_batch_size_{name}")
        )

    pictures, batches = read("sum"), read("count")
    return lambda: (read("sum") - pictures) / (read("count") - batches)


@contextmanager
def started(options: argparse.Namespace, workers: int) -> Iterator[tuple[Process, str]]:
    """A set-up that is ready, and its address."""
    told = (*PROGRAM, "--batch-ms", str(options.batch_ms), "--serve", str(workers))
    settings = {"MATTE_WORKERS": "1", "MATTE_MAX_BATCH_SIZE": str(LARGEST), "MATTE_LOG_LEVEL": "info"}
    with serving(NOWHERE, ready=False, program=told, **settings) as (running, address):
        ready(running, max(1, workers))
        yield running, address


def measure(options: argparse.Namespace, workers: int) -> Figures:
    with started(options, workers) as (running, address):
        make = partial(posting, address, options.path, photo(options.side))
        load = partial(closed_loop_by, options.clients, make, pid=running.child.pid)
        load(requests=2 * options.concurrency, concurrency=options.concurrency)  # to warm up
        front_ends, inference = parts(running.child.pid, workers)
        size = batch_size(address)
        before = [sum(map(cpu_seconds, each)) for each in (front_ends, inference)]
        done = load(requests=options.requests, concurrency=options.concurrency)
        spent = [sum(map(cpu_seconds, each)) for each in (front_ends, inference)]
        each_ms = [1000 * (b - a) / options.requests for a, b in zip(before, spent, strict=True)]
        return Figures(
            workers,
            done.per_second,
            1000 * done.percentile(50),
            1000 * done.percentile(99),
            *each_ms,
            size(),
            dict(done.statuses),
        )


async def send_squares(path: Path, count: int) -> None:
    """As a further front end, which only sends squares."""
    link = Link(path, "bench", PATIENCE_S, bytes)
    front_end = InferenceProcesses(list, "bench", [link])
    front_end.start()
    version = ModelVersion(Path("/"), STAND_IN, 0)
    with ThreadPoolExecutor(1) as threads:
        steps = Watchdog(PATIENCE_S).pool("", 1)
        device = DeviceContext(threads, steps, Metrics(), Settings())
        servable = await front_end.open(version, device, threads)
        at_once, square = asyncio.Semaphore(AT_ONCE), np.zeros((SIDE, SIDE, 3), np.uint8)

        async def one() -> None:
            async with at_once:
                await gather(servable.submit_squares([square]))

        await asyncio.gather(*(one() for _ in range(count)))
    await front_end.close()


def measure_squares(options: argparse.Namespace) -> None:
    with started(options, 1) as (running, _):
        (worker,), (inference,) = parts(running.child.pid, 1)
        words = Path(f"/proc/{worker}/cmdline").read_bytes().decode().split("\0")
        path = WorkerProcess.parse(words[words.index("--member") + 1]).inference[0]
        before, began, own = cpu_seconds(inference), time.perf_counter(), time.process_time()
        uvloop.run(send_squares(path, options.squares))
        spent = (cpu_seconds(inference) - before, time.process_time() - own)
        inference_ms, sender_ms = (1000 * seconds / options.squares for seconds in spent)
        rate = options.squares / (time.perf_counter() - began)
    print(
        f"squares alone            {rate:6.0f} a second   CPU a square: inference {inference_ms:.2f} ms, "
        f"sender {sender_ms:.2f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--path", default="/v1/matte")
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--batch-ms", type=float, default=7.0)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--squares", type=int)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options, told = parser.parse_known_args()
    if options.serve is not None:
        serve_as_told(options.batch_ms, options.serve, told)
        return
    if options.squares:
        measure_squares(options)
    found = []
    for _ in range(options.turns):
        for workers in options.workers:
            figures = measure(options, workers)
            found.append(asdict(figures))
            name = f"{workers} workers + inference" if workers else "one process"
            print(
                f"{name:24s} {figures.per_second:6.1f} a second   p50 {figures.p50_ms:5.0f} ms   p99 "
                f"{figures.p99_ms:5.0f} ms   CPU a request: front ends {figures.front_ends_ms:5.1f} ms, inference "
                f"{figures.inference_ms:4.1f} ms   {figures.pictures_in_a_batch:4.1f} in a batch   {figures.statuses}"
            )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
