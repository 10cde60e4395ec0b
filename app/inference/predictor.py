"""Load an artifact directory as a warm `Predictor`: pictures `[N,S,S,3]` to alphas `[N,S,S]`.

`app.inference.backends` chooses the runtime. If memory runs out, batches become smaller. Knows no HTTP, no queue and
no file format; normalisation and sigmoid are inside the SavedModel.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from app.errors import InferenceFailed, OutOfMemory
from app.inference.backends import select
from app.inference.backends.base import Alphas, Batch, ExecutionConfig, LoadError, Predict, give_memory_back
from app.inference.backends.devices import Device, choose_device
from app.inference.backends.precision import Precision
from app.inference.backends.select import OPENVINO, Runtime
from model import contract
from model.cascade import run_cascade, stages
from model.contract import Manifest

LARGEST_ON_CUDA: Final = 16
LARGEST_ON_CPU: Final = 2
"""The default maximum batch size, for TensorFlow. Beyond 2 the activations no longer fit into a core's cache
(tests/bench/bench_batching.py)."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Predictor:
    """A model that is ready to run. `run` accepts exactly the `batch_sizes`, of pictures of the model's input size or
    another one of its cascade, returns float32 `[N,S,S]`, and raises MemoryError if there is too little memory; up to
    `lanes` threads may call it at the same time."""

    manifest: Manifest
    device: str
    precision: str
    batch_sizes: tuple[int, ...]
    run: Predict
    lanes: int = 1
    runtime: str = "none"
    backoff: BatchSizeBackoff = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "backoff", BatchSizeBackoff(self.batch_sizes))

    @property
    def input_size(self) -> int:
        """S, the side of the network's square, in pixels."""
        return self.manifest.input_size

    @property
    def batch_limit(self) -> int:
        """Pictures in one call of the network that memory allows now."""
        return self.backoff.limit

    def padded_size(self, count: int) -> int:
        """The smallest allowed batch size that holds `count` pictures."""
        return next(size for size in self.batch_sizes if size >= count)

    def predict(self, batch: Batch) -> Alphas:
        """Alphas float32 `[N,S,S]` in 0..1 of a batch uint8 `[N,S,S,3]`, 1 <= N <= the largest batch size.

        Raises the errors of `predict_each`, and InferenceFailed if any alpha is not finite.
        """
        return _all_or_none(self.predict_each(batch))

    def predict_each(self, batch: Batch) -> list[Alphas | InferenceFailed]:
        """`predict` for any number of pictures; an alpha that is not finite fails only its own picture.

        If there is too little memory for all at once, the pictures are run in several parts. Raises InferenceFailed
        if the model returns another shape, OutOfMemory if there is too little memory for a single picture.
        """
        return self._in_parts(batch, partial(run_cascade, network=self._run_padded, manifest=self.manifest))

    def warm(self) -> None:
        """Run every allowed batch size once at every input size, so that no request pays for the first run. Under
        OpenVINO the first run of a size takes a tenth of a second more, once for all lanes, and a start would take
        twice as long: only the first size is run."""
        sizes = [stage.size for stage in stages(self.manifest)]
        for side in sizes[:1] if self.runtime == OPENVINO else sizes:
            for size in self.batch_sizes:
                _all_or_none(self._in_parts(np.zeros((size, side, side, 3), np.uint8), self._run_padded))

    def _in_parts(self, batch: Batch, predict: Predict) -> list[Alphas | InferenceFailed]:
        each: list[Alphas | InferenceFailed] = []
        while len(each) < len(batch):
            part = batch[len(each) : len(each) + self.backoff.limit]
            try:
                each += map(_finite, predict(part))
            except MemoryError:
                if not self.backoff.failed(self.padded_size(len(part))):
                    raise OutOfMemory("There is too little memory for even one picture now.") from None
            else:
                self.backoff.succeeded()
        return each

    def _run_padded(self, batch: Batch) -> Alphas:
        count = len(batch)
        padding = self.padded_size(count) - count
        padded = np.pad(batch, ((0, padding), (0, 0), (0, 0), (0, 0))) if padding else batch
        alphas = self.run(padded)
        if alphas.shape != padded.shape[:3]:
            raise InferenceFailed(f"the model gave shape {alphas.shape} for {padded.shape}")
        return alphas[:count]


def _finite(alpha: Alphas) -> Alphas | InferenceFailed:
    if np.isfinite(alpha).all():
        return np.clip(alpha, 0.0, 1.0)
    return InferenceFailed("the model gave numbers that are not finite")


def _all_or_none(each: Sequence[Alphas | InferenceFailed]) -> Alphas:
    alphas = []
    for alpha in each:
        if isinstance(alpha, InferenceFailed):
            raise alpha
        alphas.append(alpha)
    return np.stack(alphas)


def batch_sizes_up_to(largest: int) -> tuple[int, ...]:
    """Powers of two below `largest`, and `largest`: 6 gives (1, 2, 4, 6)."""
    powers = (1 << bit for bit in range(largest.bit_length()))
    return (*(power for power in powers if power < largest), largest)


def load(
    model_dir: Path,
    *,
    device: Device,
    precision: Precision,
    max_batch_size: int,
    runtime: Runtime = "auto",
    lanes: int = 0,
    cores: int = 1,
    gpu: int = 0,
    cache_dir: Path | None = None,
) -> Predictor:
    """Verify the artifact, choose device, runtime and precision, and warm every batch size.

    `max_batch_size` 0 and `lanes` 0 choose what suits the device and the number of `cores`; OpenVINO takes one
    picture at a time. On a CPU each lane has one core, since a picture takes less total CPU time on one core than on
    several; under OpenVINO a picture that is alone uses several all the same. `cache_dir` caches what OpenVINO
    compiles. Raises ContractError for a bad artifact, LoadError for a device, runtime or precision that is not
    available.
    """
    manifest = contract.verify(model_dir)
    device = select.device_for(runtime, device)
    chosen_device, index = choose_device(device, gpu)
    on_cuda = chosen_device == "cuda"
    lanes = lanes or (1 if on_cuda else cores)
    config = ExecutionConfig(chosen_device, max(1, cores // lanes), index, lanes)
    try:
        network = select.load_network(model_dir, manifest, config, runtime, precision, cache_dir)
        largest = max_batch_size or (LARGEST_ON_CUDA if on_cuda else LARGEST_ON_CPU)
        sizes = batch_sizes_up_to(1 if network.runtime == OPENVINO else largest)
        predictor = Predictor(
            manifest,
            chosen_device,
            network.precision,
            sizes,
            network.run,
            lanes,
            network.runtime,
        )
        predictor.warm()
    except OutOfMemory as error:
        raise LoadError(f"{model_dir}: {error.detail}") from None
    except MemoryError as error:
        raise LoadError(f"{model_dir}: there is too little memory for the network: {error}") from None
    give_memory_back()
    _log_model(predictor, device)
    return predictor


def _log_model(predictor: Predictor, asked: Device) -> None:
    unasked = asked == "auto" and predictor.device == "cpu"
    _log.log(
        logging.WARNING if unasked else logging.INFO,
        "model %s runs on %s by %s in %s%s",
        predictor.manifest.label,
        predictor.device.upper(),
        select.NAMES[predictor.runtime],
        predictor.precision,
        ": no GPU was found" if unasked else "",
    )


RETRY_AFTER: Final = 100
"""Successful batches before a larger size is tried. A failed try costs about one batch, so at most 1% is lost."""


class BatchSizeBackoff:
    """Limit the batch size, one of `sizes` in ascending order, to what memory allows: `limit`.

    The limit falls when memory runs out, and rises again after many successes. All lanes share it.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = tuple(sizes)
        self._limit = self._sizes[-1]
        self._successes = 0
        self._lock = threading.Lock()

    @property
    def limit(self) -> int:
        """Pictures in one batch."""
        return self._limit

    def failed(self, size: int) -> bool:
        """Memory ran out at `size` pictures: halve the limit. Returns False if there is no smaller size."""
        with self._lock:
            self._successes = 0
            smaller = [each for each in self._sizes if each <= size // 2]
            if not smaller:
                return False
            self._limit = min(self._limit, smaller[-1])
            _log.warning(
                "memory ran out at %d pictures, the batch size is limited to %d now", size, self._limit
            )
            return True

    def succeeded(self) -> None:
        """A batch succeeded: after a hundred of them, allow the next larger size."""
        with self._lock:
            self._successes += 1
            if self._successes >= RETRY_AFTER and self._limit < self._sizes[-1]:
                self._limit = next(each for each in self._sizes if each > self._limit)
                self._successes = 0
                _log.info("the batch size may be %d again", self._limit)


@contextmanager
def memory_errors(count: Callable[[], None]) -> Iterator[None]:
    """Raise OutOfMemory, and `count` it, for the out-of-memory errors of Python, NumPy, Pillow and OpenCV. A network
    that fails even with one picture raises it itself."""
    try:
        yield
    except (MemoryError, OutOfMemory, cv2.error) as error:
        if isinstance(error, cv2.error) and error.code != cv2.Error.StsNoMem:
            raise
        count()
        raise OutOfMemory("There is too little memory for this picture now.") from None
