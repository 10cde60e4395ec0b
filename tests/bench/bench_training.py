"""What a training step costs beside its network, and what a sample costs to make.

    .venv/bin/python -m tests.bench.bench_training [--config CONFIG.toml] [--size 192] [--batch 8] [--data-root DATA]

Two figures. (1) Step time of the run itself, data and all, beside the bare step on a batch that lies ready: rounds of
either take turns, and the ratio is the median of the rounds' ratios. (2) CPU time per sample of the input pipeline,
from the files and from the cache, without a network. Without --data-root: drawn portraits of 1350 × 1320, P3M-10k's
mean size.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from rich.console import Console

from tests.training.p3m_folders import write_backgrounds, write_data_set
from training.config import PhaseConfig, TrainConfig, load_config
from training.data.cache import build_cache
from training.data.dataset import Pair, Sources, list_backgrounds, list_pairs
from training.data.input_pipeline import training_batches
from training.engine.distributed import choose_strategy
from training.engine.state import TrainState
from training.engine.train_step import StepResult, TrainStep, compile_train_step
from training.engine.trainer import set_precision

P3M_SIZE = (1350, 1320)
PAIRS = 96
SHORTER_SIDE = 512
GO_ON = tf.constant(0.0)


def seconds_per_step(
    step: TrainStep, batches: list[tuple[tf.Tensor, ...]] | tf.data.Iterator, steps: int
) -> float:
    """Wall time; the first batch is not counted, so that what runs ahead is under way."""
    batches = iter(batches)
    StepResult.read(step(*next(batches)[:2], GO_ON))
    started = time.perf_counter()
    for _ in range(steps):
        StepResult.read(step(*next(batches)[:2], GO_ON))
    return (time.perf_counter() - started) / steps


def batches_of(
    config: TrainConfig, sources: Sources, size: int, first: int, last: int
) -> Iterator[tuple[tf.Tensor, ...]]:
    return iter(
        training_batches(
            sources,
            config.augment,
            size=size,
            batch_size=config.batch_size,
            seed=0,
            first_step=first,
            last_step=last,
        )
    )


def bench_step(config: TrainConfig, sources: Sources, size: int, rounds: int, steps: int) -> None:
    set_precision(config)
    strategy = choose_strategy()
    with strategy.scope():
        state = TrainState(config)
    step = compile_train_step(strategy, state, config)

    ready = [next(batches_of(config, sources, size, 0, 1))] * (steps + 1)
    seconds_per_step(step, ready, 2)
    pairs = [
        (
            seconds_per_step(step, ready, steps),
            seconds_per_step(step, batches_of(config, sources, size, i * steps, (i + 1) * steps + 1), steps),
        )
        for i in range(rounds)
    ]
    bare, whole = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(whole / bare for bare, whole in pairs)
    print(
        f"{state.network.name} {size}² batch {config.batch_size} {config.precision}: bare step {bare * 1000:.0f} ms, "
        f"with its data {whole * 1000:.0f} ms   × {ratio:.3f}  (bar 1.15)"
    )


def bench_samples(name: str, config: TrainConfig, sources: Sources, size: int, steps: int) -> float:
    """CPU milliseconds per sample, all threads together."""
    batches = batches_of(config, sources, size, 0, steps + 2)
    next(batches), next(batches)
    started, wall, count = time.process_time(), time.perf_counter(), 0
    for image, *_ in batches:
        count += int(image.shape[0])
    cpu, wall = (time.process_time() - started) / count, (time.perf_counter() - wall) / count
    print(
        f"{name:28s} {size}²: {cpu * 1000:6.1f} ms CPU a sample, "
        f"{1 / cpu:5.0f} samples/s per core, {1 / wall:5.0f} in all"
    )
    return cpu


def data(folder: Path, data_root: Path | None) -> tuple[tuple[Pair, ...], tuple[Path, ...]]:
    backgrounds = list_backgrounds(write_backgrounds(folder / "backgrounds"))
    if data_root is None:
        data_root = write_data_set(folder / "p3m", train=PAIRS, validation=1, size=P3M_SIZE)
    return list_pairs(data_root, "train").pairs[:PAIRS], backgrounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=Path("training/configs/portrait4.toml"))
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--input-only", action="store_true")
    options = parser.parse_args()
    loaded = load_config(options.config)
    config = dataclasses.replace(
        loaded, batch_size=options.batch, phases=(PhaseConfig(options.size, 10_000),), shorter_side=0
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs, backgrounds = data(folder, options.data_root)
        files = Sources.of(pairs, backgrounds)
        cached = build_cache(pairs, backgrounds, folder / "cache", SHORTER_SIDE, Console(quiet=True))
        bench_samples("files", config, files, options.size, 16)
        bench_samples(f"cache, shorter side {SHORTER_SIDE}", config, cached, options.size, 16)
        if not options.input_only:
            bench_step(config, cached, options.size, options.rounds, options.steps)


if __name__ == "__main__":
    main()
