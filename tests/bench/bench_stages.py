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
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from app import codec, predictor
from app.recipe import Output, encode
from app.settings import BUILT_IN_MODEL
from model import matting
from model.refine import UNDECIDED
from tests.bench.load import photo

T = TypeVar("T")


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
    cv2.setNumThreads(1)
    model = predictor.load(options.model, device="cpu", precision="auto", max_batch_size=1)
    size, geometry, sharpness = model.input_size, model.manifest.geometry, model.manifest.sharpness
    data, pixels = photo(options.side), options.side**2

    def tell(name: str, milliseconds: float) -> float:
        print(f"{name:34s} {milliseconds:7.2f} ms  {milliseconds * 1e6 / pixels:6.2f} ns per pixel")
        return milliseconds

    def measured(name: str, work: Callable[[], T]) -> tuple[T, float]:
        result, milliseconds = cpu_ms(work, options.runs)
        return result, tell(name, milliseconds)

    print(
        f"{options.side} × {options.side}, {len(data) / 1000:.0f} kB JPEG, {model.manifest.label} at {size}²"
    )
    _, header = measured("header", partial(codec.count_pixels, data, max_pixels=pixels))
    image, decode = measured("decode", partial(codec.decode_image, data, max_pixels=pixels))
    views, square = measured("to the network's square", partial(matting.views, image, size, geometry))
    alphas = list(model.predict(np.stack(views)))
    finish = partial(matting.finish, image, views, alphas, geometry, sharpness=sharpness)
    matte, refine = measured("enlarge, refine, judge", finish)
    _, png = measured("encode the matte", partial(encode, image, matte, Output.MATTE))
    tell("outside the network, matte", header + decode + square + refine + png)
    _, cutout = measured("encode the cut-out", partial(encode, image, matte, Output.CUTOUT))
    tell("outside the network, cut-out", header + decode + square + refine + cutout)
    measured("for comparison: copy the photo", image.copy)
    low, high = UNDECIDED
    undecided = float(np.mean((alphas[0] > low) & (alphas[0] < high)))
    print(f"undecided, which refinement looks at: {undecided:.1%} of the square")


if __name__ == "__main__":
    main()
