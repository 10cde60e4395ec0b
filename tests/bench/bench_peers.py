"""The service beside rembg's HTTP server: the same network and weights, the same photo, the same machine.

    .venv/bin/python -m tests.bench.bench_peers [--venv DIR] [--model ARTIFACT] [--requests 120] [--peer-requests 24]
        [--side 2048] [--json OUT.json]

rembg is installed into a virtual environment of its own (--venv, by default in the user's cache folder). It is given
the artifact's network as an ONNX file in float32, of which ONNX Runtime's alpha is compared with TensorFlow's first.
rembg's U²-Net session always brings a photo to 320 × 320; the file's first node, a resize that takes less than a
hundredth of the network's time, brings that to the network's own square. So both run the same layers on the same
number of pixels; how is each one's own affair: the service in bfloat16 where the CPU has it and in batches, rembg
photo by photo. What the service does beyond rembg is in its time: its edges are refined on the full photo, rembg's
mask is only enlarged.

A ratio is worth something on a machine that does nothing else: the table tells which share of the CPUs others took,
and gives no verdict where it was more than a twentieth. CPU time per request is there too; it suffers less from that.

One server at a time is up. Each answer must be a PNG of the photo's size, rembg's mask all but the service's matte.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import struct
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

import cv2
import httpx
import numpy as np
from numpy.typing import NDArray

from app.settings import BUILT_IN_MODEL
from tests.bench.cpu_share import watched
from tests.bench.load import Send, closed_loop, photo, posting
from tests.bench.peer_figures import TASKS, Comparison, Measured, Run, table
from tests.bench.peer_rembg import Peer, default_venv, installed, removing, serving_rembg
from tests.support.servers import serving

MATTE_TOLERANCE: Final = 0.05  # mean; 0.015 was seen, and 0.10 with red for blue, or no normalisation
WARM_UP: Final = 8  # requests of each kind, all at once, before anything is measured
COLOUR_TYPES: Final = {"matte": 0, "cut-out": 6}  # PNG's numbers of grey and of RGBA


def measure_rembg(peer: Peer, model: Path, data: bytes, *, side: int, requests: int) -> Measured:
    """rembg with the ONNX file `model` under so many requests of each task."""
    with serving_rembg(peer, model.parent) as (pid, address):
        sends = {
            "matte": removing(address, data, model, only_mask=True),
            "cut-out": removing(address, data, model, only_mask=False),
        }
        return _measured(sends, pid, side, requests)


def measure_service(artifact: Path, data: bytes, *, side: int, requests: int) -> Measured:
    """The service the same way; a task for which it has no endpoint is left out."""
    with serving(artifact) as (process, address):
        paths = httpx.get(f"{address}/openapi.json").json()["paths"]
        endpoints = {"matte": "/v1/matte", "cut-out": "/v1/cutout"}
        sends = {kind: posting(address, path, data) for kind, path in endpoints.items() if path in paths}
        return _measured(sends, process.child.pid, side, requests)


def _measured(sends: dict[str, Send], pid: int, side: int, requests: int) -> Measured:
    checked = {kind: expecting(send, side, COLOUR_TYPES[kind]) for kind, send in sends.items()}
    matte = asyncio.run(_answer(checked["matte"]))  # The first answer, which makes rembg's session.
    for send in checked.values():
        closed_loop(send, requests=WARM_UP, concurrency=WARM_UP, pid=pid)
    runs = {}
    for kind, concurrency in TASKS:
        if kind in checked:
            work = partial(closed_loop, checked[kind], requests=requests, concurrency=concurrency, pid=pid)
            runs[f"{kind} at {concurrency}"] = Run(*watched(pid, work))
    return Measured(runs, matte)


def expecting(send: Send, side: int, colour_type: int) -> Send:
    """The request, which fails unless it is answered by a PNG of the photo's size and of that colour type."""

    async def checked() -> httpx.Response:
        response = await send()
        if response.status_code != 200:
            raise ValueError(f"{response.url} answered {response.status_code}: {response.text[:300]}")
        found = struct.unpack(">4sIIBB", response.content[12:26])
        if found != (b"IHDR", side, side, 8, colour_type):
            raise ValueError(f"{response.url} answered a picture of {found}")
        return response

    return checked


async def _answer(send: Send) -> NDArray[np.uint8]:
    content = (await send()).content
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED), np.uint8)


def compare(
    artifact: Path, folder: Path, *, requests: int, peer_requests: int, side: int = 2048
) -> Comparison:
    """Install rembg into `folder`, unless it is there, and measure both, one after the other.

    Raises ValueError if the two do not run the same network, or if one does not answer as it should.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from training.export.to_onnx import to_onnx  # brings TensorFlow, for which `--help` should not wait

    peer, data = installed(folder), photo(side)
    with tempfile.TemporaryDirectory() as home:
        model = Path(home).resolve() / "network.onnx"
        difference = to_onnx(artifact, model, form="normalised").difference
        if difference is None:
            raise ValueError("the networks cannot be compared: pip install onnxruntime")
        rembg = measure_rembg(peer, model, data, side=side, requests=peer_requests)
    service = measure_service(artifact, data, side=side, requests=requests)
    comparison = Comparison(peer, service, rembg, difference)
    if comparison.matte_difference > MATTE_TOLERANCE:
        raise ValueError(f"the mattes differ by {comparison.matte_difference:.3f}: not the same network")
    return comparison


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=default_venv(), help="of rembg; made if missing")
    parser.add_argument("--model", type=Path, default=BUILT_IN_MODEL)
    parser.add_argument("--requests", type=int, default=120, help="to the service, for each task")
    parser.add_argument("--peer-requests", type=int, default=24, help="to rembg, for each task")
    parser.add_argument("--side", type=int, default=2048, help="of the photo, in pixels")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    comparison = compare(
        options.model,
        options.venv,
        requests=options.requests,
        peer_requests=options.peer_requests,
        side=options.side,
    )
    print(table(comparison))
    if options.json:
        options.json.write_text(json.dumps(comparison.summary(), indent=1))


if __name__ == "__main__":
    main()
