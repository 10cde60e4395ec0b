"""What networks cost on this CPU, as the service runs them: frozen, in its precision, in batches, one core each.

    .venv/bin/python -m tests.bench.bench_network ARTIFACT [ARTIFACT…] [--batch 2] [--runs 15]

The yardstick is U²-Net lite at 320², untrained, built on the spot. Networks take turns within each round, so that a
slow minute hits all alike; the ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from app import predictor
from app.predictor import Predictor
from model.u2net import u2net
from training.export import Card, Serving, export_network

YARDSTICK_SIZE = 320


def untrained_lite(folder: Path) -> Path:
    """An artifact of U²-Net lite with random weights."""
    keras.utils.set_random_seed(0)
    artifact = folder / "lite"
    export_network(u2net("lite"), Serving(YARDSTICK_SIZE), artifact, Card("untrained-lite", "0", "", ""))
    return artifact


def cpu_seconds(network: Predictor, batch: int) -> float:
    """CPU time per image of one call, over all threads."""
    squares = np.random.default_rng(0).integers(
        0, 256, (batch, network.input_size, network.input_size, 3), np.uint8
    )
    started = time.process_time()
    network.predict(squares)
    return (time.process_time() - started) / batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifacts", type=Path, nargs="+")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = [untrained_lite(Path(folder)), *options.artifacts]
        networks = [
            predictor.load(path, device="cpu", precision="auto", max_batch_size=options.batch)
            for path in paths
        ]
        rounds = [[cpu_seconds(each, options.batch) for each in networks] for _ in range(options.runs)]
    print(f"batch {options.batch}, median of {options.runs} rounds")
    for index, each in enumerate(networks):
        milliseconds = statistics.median(times[index] for times in rounds) * 1000
        ratio = statistics.median(times[index] / times[0] for times in rounds)
        print(
            f"{each.manifest.label:24s} {each.input_size:4d}² {each.precision:9s} "
            f"{milliseconds:7.1f} ms CPU per image   × {ratio:.2f}"
        )


if __name__ == "__main__":
    main()
