"""What each stage outside the network costs: CPU milliseconds of one photo on one core, and nanoseconds per pixel.

    .venv/bin/python -m tests.bench.bench_stages [--side 2048] [--model ARTIFACT] [--runs 15]

The photo is NASA's portrait of Eileen Collins, enlarged, as JPEG. Its alpha comes from the model, as it is served.
Beside the stages stands what memory allows: a copy of the photo's pixels, read and written.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from app.imaging import decode as codec
from app.imaging.encode import encode
from app.imaging.output import CUTOUT
from app.imaging.render import render
from app.inference import predictor
from app.options import Format
from app.settings import BUILT_IN_MODEL
from model import matting
from model.refine import UNDECIDED
from tests.bench.load import photo

T = TypeVar("T")


@dataclass(slots=True)
class Stages:
    """CPU milliseconds of each stage, of a matte's and of what a cut-out takes instead of `encode the matte`."""

    matte: dict[str, float] = field(default_factory=dict)
    cutout: dict[str, float] = field(default_factory=dict)
    copy_ms: float = 0.0
    undecided: float = 0.0  # share of the square that refinement looks at

    @property
    def matte_ms(self) -> float:
        return sum(self.matte.values())

    @property
    def cutout_ms(self) -> float:
        return sum(list(self.matte.values())[:-1]) + sum(self.cutout.values())


def measure(side: int = 2048, artifact: Path = BUILT_IN_MODEL, runs: int = 15) -> Stages:
    """Each stage on its own, median of `runs`, all threads together."""
    cv2.setNumThreads(1)
    model = predictor.load(artifact, device="cpu", precision="auto", max_batch_size=1)
    size, geometry, sharpness = model.input_size, model.manifest.geometry, model.manifest.sharpness
    data, limit, stages = photo(side), side**2, Stages()

    def timed(into: dict[str, float], name: str, work: Callable[[], T]) -> T:
        result, into[name] = cpu_ms(work, runs)
        return result

    timed(stages.matte, "header", partial(codec.read_header, data, max_pixels=limit))
    reduction = partial(matting.reduction, size=size)
    decode = partial(codec.decode_photo, data, max_pixels=limit, reduction=reduction)
    decoded = timed(stages.matte, "decode", decode)
    image, own_size = decoded.image, decoded.size
    views = timed(
        stages.matte,
        "to the network's square",
        partial(matting.views, image, size, geometry, photo_size=own_size),
    )
    alphas = list(model.predict(np.stack(views)))
    finish = partial(matting.finish, image, views, alphas, geometry, sharpness=sharpness, photo_size=own_size)
    matte = timed(stages.matte, "enlarge, refine, judge", finish)
    timed(stages.matte, "encode the matte", partial(encode, matte.alpha, Format.PNG))
    whole = codec.decode_image(data, max_pixels=limit)
    rendered = timed(stages.cutout, "the person's own colours", partial(render, whole, matte.alpha, CUTOUT))
    timed(stages.cutout, "encode the cut-out", partial(encode, rendered.pixels, Format.PNG))
    _, stages.copy_ms = cpu_ms(image.copy, runs)
    low, high = UNDECIDED
    stages.undecided = float(np.mean((alphas[0] > low) & (alphas[0] < high)))
    return stages


def cpu_ms(work: Callable[[], T], runs: int) -> tuple[T, float]:
    """What it gives, and the median of its CPU time, all threads together."""
    result, times = work(), []
    for _ in range(runs):
        started = time.process_time()
        work()
        times.append((time.process_time() - started) * 1000)
    return result, statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--model", type=Path, default=BUILT_IN_MODEL)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    stages = measure(options.side, options.model, options.runs)
    rows = [
        *stages.matte.items(),
        ("outside the network, matte", stages.matte_ms),
        *stages.cutout.items(),
        ("outside the network, cut-out", stages.cutout_ms),
        ("for comparison: copy the photo", stages.copy_ms),
    ]
    print(f"{options.side} × {options.side} pixels, {len(photo(options.side)) / 1000:.0f} kB JPEG")
    for name, milliseconds in rows:
        print(f"{name:34s} {milliseconds:7.2f} ms  {milliseconds * 1e6 / options.side**2:6.2f} ns per pixel")
    print(f"undecided, which refinement looks at: {stages.undecided:.1%} of the square")


if __name__ == "__main__":
    main()
