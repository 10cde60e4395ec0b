"""What networks cost on this CPU, as the service runs them, in its precision, one core each.

    .venv/bin/python -m tests.bench.bench_network ARTIFACT [ARTIFACT…] [--batch 1] [--runs 15]

The yardstick is U²-Net lite at 320² in float32 by ONNX Runtime, which is rembg's smallest network as rembg runs it;
untrained and built on the spot, since weights cost nothing. Beside it the same as the service runs it. Networks
take turns within each round, so that a slow minute hits all alike; the ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import onnxruntime
import tensorflow as tf

from app.inference import predictor
from app.inference.backends.base import Alphas, Batch, Predict
from model.u2net import u2net
from training.export.artifact import Card, Serving, export_network
from training.export.to_onnx import to_onnx

YARDSTICK_SIZE = 320


@dataclass(frozen=True, slots=True)
class Rival:
    """A network, its square, what computes it and how."""

    name: str
    size: int
    precision: str
    run: Predict


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


def as_served(artifact: Path, batch: int) -> Rival:
    loaded = predictor.load(artifact, device="cpu", precision="auto", max_batch_size=batch)
    return Rival(
        f"{loaded.manifest.label} in {loaded.runtime}", loaded.input_size, loaded.precision, loaded.predict
    )


def cpu_seconds(predict: Predict, size: int, batch: int) -> float:
    """CPU time per image of one call, over all threads."""
    squares = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)
    started = time.process_time()
    predict(squares)
    return (time.process_time() - started) / batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifacts", type=Path, nargs="+")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        lite = untrained_lite(Path(folder))
        rivals = [by_onnx_runtime(lite, Path(folder) / "lite.onnx")]
        rivals += [as_served(path, options.batch) for path in (lite, *options.artifacts)]
        rounds = [
            [cpu_seconds(each.run, each.size, options.batch) for each in rivals] for _ in range(options.runs)
        ]
    print(f"batch {options.batch}, median of {options.runs} rounds")
    for index, each in enumerate(rivals):
        milliseconds = statistics.median(times[index] for times in rounds) * 1000
        ratio = statistics.median(times[index] / times[0] for times in rounds)
        print(
            f"{each.name:32s} {each.size:4d}² {each.precision:9s} "
            f"{milliseconds:7.1f} ms CPU per image   × {ratio:.2f}"
        )


if __name__ == "__main__":
    main()
