"""What networks cost on this CPU, as the service runs them, one core each, and what a precision does to their alphas.

    .venv/bin/python -m tests.bench.bench_network ARTIFACT [ARTIFACT…] [--precision float32 int8] [--photos DIR]

The yardstick is U²-Net lite at 320² in float32 by ONNX Runtime, which is rembg's smallest network as rembg runs it;
untrained and built on the spot, since weights cost nothing. Beside it the same as the service runs it. Networks
take turns within each round, so that a slow minute hits all alike; the ratio is the mean of the rounds' ratios. What
a cascade of input sizes costs depends on the photo: each round takes the next of --photos, by default one portrait.
Of several precisions, the others' alphas are compared with the first one's, pixel by pixel.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import keras
import numpy as np
import onnxruntime
import tensorflow as tf

from app.imaging.decode import decode_image
from app.inference import predictor
from app.inference.backends.base import Alphas, Batch, Predict
from app.inference.backends.precision import Precision
from model.transforms import Image, stretch
from model.u2net import u2net
from tests.bench.load import photo
from training.export.artifact import Card, Serving, export_network
from training.export.to_onnx import to_onnx

YARDSTICK_SIZE = 320


@dataclass(frozen=True, slots=True)
class Rival:
    """A network, its square, what computes it and how; `exact`: the index of the rival that runs the same network in
    the precision to compare with, if it is another one."""

    name: str
    size: int
    precision: str
    run: Predict
    exact: int | None = None


def untrained_lite(folder: Path) -> Path:
    """An artifact of U²-Net lite with random weights."""
    keras.utils.set_random_seed(0)
    artifact = folder / "lite"
    export_network(u2net("lite"), Serving(YARDSTICK_SIZE), artifact, Card("untrained-lite", "0", "", ""))
    return artifact


def by_onnx_runtime(artifact: Path, file: Path) -> Rival:
    to_onnx(artifact, file, form="normalised")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(squares: Batch) -> Alphas:
        seen = np.ascontiguousarray(squares.transpose(0, 3, 1, 2), np.float32) / 255
        return np.asarray(session.run(None, {name: seen})[0])[:, 0]

    return Rival("lite in ONNX Runtime", YARDSTICK_SIZE, "float32", run)


def as_served(artifact: Path, batch: int, precision: Precision, exact: int | None = None) -> Rival:
    loaded = predictor.load(artifact, device="cpu", precision=precision, max_batch_size=batch)
    name = f"{loaded.manifest.label} in {loaded.runtime}"
    return Rival(name, loaded.input_size, loaded.precision, loaded.predict, exact)


def run(rival: Rival, image: Image, batch: int) -> tuple[float, Alphas]:
    """CPU seconds per image of one call, over all threads, and the alphas."""
    squares = np.stack([stretch(image, rival.size, rival.size)] * batch)
    started = time.process_time()
    alphas = rival.run(squares)
    return (time.process_time() - started) / batch, alphas


def images(photos: Path | None) -> Iterator[Image]:
    """Photos in their order, again and again."""
    files = [path.read_bytes() for path in sorted(photos.iterdir())] if photos else [photo(1024)]
    return itertools.cycle([decode_image(each, max_pixels=100_000_000) for each in files])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifacts", type=Path, nargs="+")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--precision", nargs="+", choices=get_args(Precision), default=["auto"])
    parser.add_argument("--photos", type=Path, help="folder of photos, each taken in turn")
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        lite = untrained_lite(Path(folder))
        rivals = [by_onnx_runtime(lite, Path(folder) / "lite.onnx"), as_served(lite, options.batch, "auto")]
        for path in options.artifacts:
            first = len(rivals)
            for precision in options.precision:
                exact = first if len(rivals) > first else None
                rivals.append(as_served(path, options.batch, precision, exact))
        taken = images(options.photos)
        for each in rivals:
            run(each, next(images(None)), options.batch)
        rounds = [
            [run(each, image, options.batch) for each in rivals]
            for _, image in zip(range(options.runs), taken, strict=False)
        ]
    print(f"batch {options.batch}, mean of {options.runs} rounds")

    def ratio(one: int, other: int) -> float:
        return statistics.mean(done[one][0] / done[other][0] for done in rounds)

    for index, each in enumerate(rivals):
        milliseconds = statistics.mean(done[index][0] for done in rounds) * 1000
        compared = [f"× {ratio(index, 0):.2f}"]
        if each.exact is not None:
            off = statistics.mean(np.abs(done[index][1] - done[each.exact][1]).mean() for done in rounds)
            exact = rivals[each.exact].precision
            compared.append(f"× {ratio(index, each.exact):.2f} of {exact}, {off:.4f} off")
        print(
            f"{each.name:32s} {each.size:4d}² {each.precision:9s} "
            f"{milliseconds:7.1f} ms CPU per image   {', '.join(compared)}"
        )


if __name__ == "__main__":
    main()
