"""Load an artifact directory as a warm `Predictor`: pictures `[N,S,S,3]` to alphas `[N,S,S]`.

`app.inference.backends` chooses what runs it. Where memory runs out, batches become smaller. Knows no HTTP, no queue
and no file format; normalisation and sigmoid are inside the SavedModel.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from model.contract import Manifest

LARGEST_ON_CUDA: Final = 16
LARGEST_ON_CPU: Final = 2
"""Pictures in a batch where nothing else is asked for, by TensorFlow. What the network holds of more no longer fits
into a core's cache (tests/bench/bench_batching.py)."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Predictor:
    """A model that is ready to run. `run` takes exactly the `batch_sizes`, gives float32 `[N,S,S]`, and raises
    MemoryError where it needs more than there is; as many threads as there are `lanes` may call it at once."""

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
    def labels(self) -> list[str]:
        """What the metrics say of it: name, version, device, runtime, precision and SHA-256."""
        manifest = self.manifest
        return [
            manifest.name,
            manifest.version,
            self.device,
            self.runtime,
            self.precision,
            manifest.sha256,
        ]

    def padded_size(self, count: int) -> int:
        """The smallest allowed batch size that holds `count` pictures."""
        return next(size for size in self.batch_sizes if size >= count)

    def predict(self, batch: Batch) -> Alphas:
        """Alphas float32 `[N,S,S]` in 0..1 of a batch uint8 `[N,S,S,3]`, 1 <= N <= the largest batch size.

        Raises what `predict_each` raises, and InferenceFailed if a single alpha is not finite.
        """
        alphas = []
        for alpha in self.predict_each(batch):
            if isinstance(alpha, InferenceFailed):
                raise alpha
            alphas.append(alpha)
        return np.stack(alphas)

    def predict_each(self, batch: Batch) -> list[Alphas | InferenceFailed]:
        """`predict` of any number of pictures, where numbers that are not finite fail their own picture alone.

        Where memory is too little for all at once, the pictures go through in several parts. Raises InferenceFailed
        if the model answers with another shape, OutOfMemory if memory is too little for one picture alone.
        """
        each: list[Alphas | InferenceFailed] = []
        while len(each) < len(batch):
            part = batch[len(each) : len(each) + self.backoff.limit]
            try:
                each += self._run_padded(part)
            except MemoryError:
                if not self.backoff.failed(self.padded_size(len(part))):
                    raise OutOfMemory("Memory is too short for even one picture now.") from None
            else:
                self.backoff.succeeded()
        return each

    def _run_padded(self, batch: Batch) -> list[Alphas | InferenceFailed]:
        count = len(batch)
        padding = self.padded_size(count) - count
        padded = np.pad(batch, ((0, padding), (0, 0), (0, 0), (0, 0))) if padding else batch
        alphas = self.run(padded)
        if alphas.shape != padded.shape[:3]:
            raise InferenceFailed(f"the model gave shape {alphas.shape} for {padded.shape}")
        not_finite = "the model gave numbers that are not finite"
        return [
            np.clip(alpha, 0.0, 1.0) if np.isfinite(alpha).all() else InferenceFailed(not_finite)
            for alpha in alphas[:count]
        ]

    def warm(self) -> None:
        """Run every allowed batch size once, so that no request pays for it."""
        for size in self.batch_sizes:
            self.predict(np.zeros((size, self.input_size, self.input_size, 3), np.uint8))


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

    `max_batch_size` 0 chooses what suits the device, as `lanes` 0 does, by the number of `cores`; OpenVINO takes one
    picture at a time. On a CPU a picture by one core takes less of all cores' time than a picture by several, so each
    lane has its own; under OpenVINO a picture that is alone gets several all the same. `cache_dir` keeps what
    OpenVINO compiles. Raises ContractError for a bad artifact, LoadError for a device, runtime or precision that is
    not to be had.
    """
    manifest = contract.verify(model_dir)
    device = select.device_for(runtime, device)
    chosen_device, index = choose_device(device, gpu)
    on_cuda = chosen_device == "cuda"
    lanes = lanes or (1 if on_cuda else cores)
    config = ExecutionConfig(chosen_device, max(1, cores // lanes), index, lanes)
    try:
        network = select.network(model_dir, manifest, config, runtime, precision, cache_dir)
        largest = max_batch_size or (LARGEST_ON_CUDA if on_cuda else LARGEST_ON_CPU)
        sizes = batch_sizes_up_to(1 if network.runtime == OPENVINO else largest)
        predictor = Predictor(
            manifest, chosen_device, network.precision, sizes, network.run, lanes, network.runtime
        )
        predictor.warm()
    except OutOfMemory as error:
        raise LoadError(f"{model_dir}: {error.detail}") from None
    except MemoryError as error:
        raise LoadError(f"{model_dir}: memory is too short for the network: {error}") from None
    give_memory_back()
    _tell(predictor, device)
    return predictor


def _tell(predictor: Predictor, asked: Device) -> None:
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


TRY_AGAIN_AFTER: Final = 100
"""Good batches. To try a size that is still too large costs about one batch, so at most one in a hundred is lost."""


class BatchSizeBackoff:
    """Of the `sizes` that the network takes, the smallest first, the largest that memory allows: its `limit`.

    It is less after memory ran out, and more again after it has succeeded for long. Shared by all lanes.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = tuple(sizes)
        self._limit = self._sizes[-1]
        self._good = 0
        self._lock = threading.Lock()

    @property
    def limit(self) -> int:
        """Pictures in one batch."""
        return self._limit

    def failed(self, size: int) -> bool:
        """Memory was too little for `size` pictures: take half from now on. False if there is no smaller batch."""
        with self._lock:
            self._good = 0
            smaller = [each for each in self._sizes if each <= size // 2]
            if not smaller:
                return False
            self._limit = min(self._limit, smaller[-1])
            _log.warning("memory ran out at %d pictures, batches have at most %d now", size, self._limit)
            return True

    def succeeded(self) -> None:
        """A batch went well: after a hundred, the next larger one is tried."""
        with self._lock:
            self._good += 1
            if self._good >= TRY_AGAIN_AFTER and self._limit < self._sizes[-1]:
                self._limit = next(each for each in self._sizes if each > self._limit)
                self._good = 0
                _log.info("batches may have %d pictures again", self._limit)


@contextmanager
def memory_errors(count: Callable[[], None]) -> Iterator[None]:
    """Raises OutOfMemory, once counted, for what Python, NumPy and Pillow, and OpenCV raise when memory is too short.
    A network that has tried in vain with fewer pictures raises it itself."""
    try:
        yield
    except (MemoryError, OutOfMemory, cv2.error) as error:
        if isinstance(error, cv2.error) and error.code != cv2.Error.StsNoMem:
            raise
        count()
        raise OutOfMemory("Memory is too short for this picture now.") from None
