"""`python -m tests.support.fault_injection PORT [GATE]`: the service with a network that fails to order.

The order is in the photo: each fault has a grey value, and any other photo gets its own as matte. GATE is a file
that photos of value WAITS wait for. SIGUSR1 stops the event loop for good. With MATTE_WORKERS this module starts all
processes.
"""

from __future__ import annotations

import signal
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np

from app.cli import serve
from app.inference.backends.base import Alphas, Batch
from app.inference.registry import model_source
from app.inference.remote import process
from app.main import create_app
from app.server.supervisor import InferenceProcess, WorkerProcess
from app.settings import load_settings
from tests.support.networks import mean_colour

RAISES, NOT_FINITE, WRONG_SHAPE, NO_MEMORY, HANGS, WAITS = 10, 20, 30, 40, 50, 60
GATE = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("/nowhere")


def network(batch: Batch) -> Alphas:
    alphas = mean_colour(batch)
    orders = set(batch[:, 0, 0, 0].tolist())
    if RAISES in orders:
        raise ZeroDivisionError("as ordered")
    if WRONG_SHAPE in orders:
        return alphas[:, 1:]
    if NO_MEMORY in orders:
        raise MemoryError
    if HANGS in orders:
        hang()
    if WAITS in orders:
        while not GATE.exists():
            threading.Event().wait(0.01)
    alphas[batch[:, 0, 0, 0] == NOT_FINITE] = np.nan
    return alphas


def hang(*_: object) -> None:
    threading.Event().wait()


def main() -> None:
    signal.signal(signal.SIGUSR1, hang)
    serve.create_app = partial(create_app, predict=network)
    stand_in = model_source(load_settings(), network)
    process.loader = lambda _settings, _gpu: lambda _path: stand_in.load(stand_in.scan()[0])
    serve.PROGRAM = (sys.executable, "-m", "tests.support.fault_injection", *sys.argv[1:3])
    match sys.argv[-2:]:
        case "--inference", told:
            serve.serve_inference(InferenceProcess.parse(told))
        case "--member", told:
            serve.serve(None, int(sys.argv[1]), WorkerProcess.parse(told))
        case _:
            serve.serve(None, int(sys.argv[1]))


if __name__ == "__main__":
    main()
