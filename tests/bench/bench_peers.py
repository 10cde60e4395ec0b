"""The service beside rembg's HTTP server: the same network and weights, the same photo, the same machine.

    .venv/bin/python -m tests.bench.bench_peers [--venv DIR] [--model ARTIFACT] [--peer-model FILE.onnx] [--rounds 5]
        [--requests 32] [--peer-requests 12] [--side 2048] [--json OUT.json]

rembg is installed into a virtual environment of its own (--venv, by default in the user's cache folder). It is given
the artifact's network as an ONNX file in float32, of which ONNX Runtime's alpha is compared with TensorFlow's first.
rembg's U²-Net session always brings a photo to 320 × 320; the file's first node, a resize that takes less than a
hundredth of the network's time, brings that to the network's own square. So both run the same layers on the same
number of pixels, and the service leaves the cascade of sizes out; how is each one's own affair: the service in 8 or
16 bits where the CPU has them and in batches,
rembg photo by photo. What the service does beyond rembg is in its time: its edges are refined on the full photo,
rembg's mask is only enlarged. With --peer-model rembg runs that file as it is: one of its own (`~/.u2net/u2net.onnx`)
beside the artifact that was imported from it, or its smallest beside the built-in model.

Machines that are shared get faster and slower within minutes. So both servers are up at once and are asked in turns:
a block of requests to the one, then to the other, --rounds times for each task. A ratio is the median of the rounds'
ratios, and the least and the largest of them are told, as is the share of the CPUs that others took.

Each answer must be a PNG of the photo's size; of the same network, rembg's mask all but the service's matte.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, Self

import cv2
import httpx
import numpy as np
from numpy.typing import NDArray

from app.settings import BUILT_IN_MODEL
from model.contract import read_manifest, write_manifest
from tests.bench.cpu_share import watched
from tests.bench.load import Send, closed_loop, photo, posting
from tests.bench.peer_figures import TASKS, Comparison, Measured, Run, table
from tests.bench.peer_rembg import default_venv, installed, removing, serving_rembg
from tests.support.servers import serving

MATTE_TOLERANCE: Final = 0.05  # mean; 0.015 was seen, and 0.10 with red for blue, or no normalisation
WARM_UP: Final = 8  # requests of each kind, all at once, before anything is measured
COLOUR_TYPES: Final = {"matte": 0, "cut-out": 6}  # PNG's numbers of grey and of RGBA
PATHS: Final = {"matte": "/v1/matte", "cut-out": "/v1/cutout"}


@dataclass(frozen=True, slots=True)
class Turns:
    """How many blocks each server gets of each task, how many requests are in one, and the photo's side in pixels."""

    rounds: int = 5
    requests: int = 32
    peer_requests: int = 12
    side: int = 2048

    @classmethod
    def of(cls, options: argparse.Namespace) -> Self:
        return cls(options.rounds, options.requests, options.peer_requests, options.side)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its process, a checked request for each task's kind, how many of them make a block."""

    pid: int
    sends: Mapping[str, Send]
    requests: int

    def warm_up(self) -> NDArray[np.uint8]:
        """The matte of the first answer; after that all is as it will stay."""
        matte = asyncio.run(_answer(self.sends["matte"]))
        for send in self.sends.values():
            closed_loop(send, requests=WARM_UP, concurrency=WARM_UP, pid=self.pid)
        return matte

    def block(self, kind: str, concurrency: int) -> Run:
        work = partial(
            closed_loop, self.sends[kind], requests=self.requests, concurrency=concurrency, pid=self.pid
        )
        return Run(*watched(self.pid, work))


def checked(sends: Mapping[str, Send], side: int) -> dict[str, Send]:
    return {kind: expecting(send, side, COLOUR_TYPES[kind]) for kind, send in sends.items()}


def in_turns(service: Server, rembg: Server, rounds: int) -> tuple[Measured, Measured]:
    """Both under each task, block by block."""
    found = Measured({}, service.warm_up()), Measured({}, rembg.warm_up())
    for kind, concurrency in TASKS:
        for _ in range(rounds):
            for server, measured in zip((service, rembg), found, strict=True):
                runs = measured.runs.setdefault(f"{kind} at {concurrency}", [])
                runs.append(server.block(kind, concurrency))
    return found


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


def compare(artifact: Path, folder: Path, options: Turns, peer_model: Path | None = None) -> Comparison:
    """Install rembg into `folder`, unless it is there, and measure both in turns. rembg runs the artifact's network,
    or the file `peer_model`.

    Raises ValueError if the two should run the same network and do not, or if one does not answer as it should.
    """
    peer, data, side = installed(folder), photo(options.side), options.side
    with tempfile.TemporaryDirectory() as home:
        model = Path(home).resolve() / "network.onnx"
        difference = None
        if peer_model:
            shutil.copyfile(peer_model, model)
            served = artifact
        else:
            served = _at_one_size(artifact, Path(home) / "served")
            difference = _exported(served, model)
        with serving(served) as (process, address), serving_rembg(peer, model.parent) as (pid, other):
            ours = {kind: posting(address, path, data) for kind, path in PATHS.items()}
            theirs = {kind: removing(other, data, model, only_mask=kind == "matte") for kind in PATHS}
            service, rembg = in_turns(
                Server(process.child.pid, checked(ours, side), options.requests),
                Server(pid, checked(theirs, side), options.peer_requests),
                options.rounds,
            )
    comparison = Comparison(peer, service, rembg, difference)
    if not peer_model and comparison.matte_difference > MATTE_TOLERANCE:
        raise ValueError(f"the mattes differ by {comparison.matte_difference:.3f}: not the same network")
    return comparison


def _at_one_size(artifact: Path, copy: Path) -> Path:
    """A copy of the artifact that runs at its input size alone, as rembg does."""
    shutil.copytree(artifact, copy)
    write_manifest(copy, replace(read_manifest(copy), cascade={}))
    return copy


def _exported(artifact: Path, model: Path) -> float:
    """Write the artifact's network as the ONNX file `model`; how far its alphas are from TensorFlow's at most."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from training.export.to_onnx import to_onnx  # brings TensorFlow, for which `--help` should not wait

    difference = to_onnx(artifact, model, form="normalised").difference
    if difference is None:
        raise ValueError("the networks cannot be compared: pip install onnxruntime")
    return difference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=default_venv(), help="of rembg; made if missing")
    parser.add_argument("--model", type=Path, default=BUILT_IN_MODEL)
    parser.add_argument("--peer-model", type=Path, help="ONNX file for rembg, in place of the same network")
    add_turns(parser)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    comparison = compare(options.model, options.venv, Turns.of(options), options.peer_model)
    print(table(comparison))
    if options.json:
        options.json.write_text(json.dumps(comparison.summary(), indent=1))


def add_turns(parser: argparse.ArgumentParser) -> None:
    usual = Turns()
    parser.add_argument("--rounds", type=int, default=usual.rounds, help="of one block each, for each task")
    parser.add_argument("--requests", type=int, default=usual.requests, help="to the service, in a block")
    parser.add_argument("--peer-requests", type=int, default=usual.peer_requests, help="to rembg, in a block")
    parser.add_argument("--side", type=int, default=usual.side, help="of the photo, in pixels")


if __name__ == "__main__":
    main()
