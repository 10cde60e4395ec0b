"""Run a SavedModel on this machine's CPU by OpenVINO: uint8 `[N,S,S,3]` to float32 `[N,S,S]`.

OpenVINO reads the same files as TensorFlow. What it compiles is cached (`compiled_cache`), so that the next start
reads no model at all. Pictures run one at a time: two in a batch cost as much each, and each batch size would hold
the network once more. A picture that is alone is computed by several cores; as soon as two overlap, each is computed
by one, which takes less of all cores' time. Knows no TensorFlow and no GPU.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.concurrency.executor import lower_priority
from app.inference.backends.base import Alphas, Batch, ExecutionConfig, LoadError, Predict
from app.inference.backends.compiled_cache import CompiledCache
from app.inference.backends.int8 import quantise
from app.inference.backends.openvino_graph import allow_input_sizes, restore_kernels, simplify_side_maps
from app.inference.backends.precision import EIGHT_BITS, FLOAT32
from model import contract
from model.contract import Activations

_HINTS: Final = {FLOAT32: "f32", "bfloat16": "bf16", EIGHT_BITS: "f32"}
"""Precision hints by precision. The choice is never left to OpenVINO: on ARM it would take float16. For 8 bits it is
the precision of the few operations that stay in float."""
MAX_CORES_PER_PICTURE: Final = 4  # cores at most for a picture that is alone
NO_OVERLAP_S: Final = 0.5  # after two pictures overlapped, the next ones are expected to, for this long
_TOOLS: Final = "openvino.tools"
_OUT_OF_MEMORY: Final = ("bad_alloc", "can't alloc", "Failed to allocate")
_loading = threading.Lock()
_log = logging.getLogger(__name__)

T = TypeVar("T")


class NotInstalledError(LoadError):
    """OpenVINO is not installed in this Python."""


def no_cache(compiler: str) -> CompiledCache:
    """A cache that stores nothing."""
    return CompiledCache(None, "", compiler)


class OpenVinoModel:
    """A SavedModel as OpenVINO reads it, for pictures of `size` pixels a side. All loading happens in one thread.

    OpenVINO's Python part prepares a type conversion on first use, under a C++ lock, and releases Python's lock
    meanwhile. Two threads that do so at the same time deadlock. So all that a run needs is used once in each process,
    on a network of one operation, before the first network is loaded.
    """

    def __init__(
        self,
        path: Path,
        size: int,
        config: ExecutionConfig,
        *,
        others: Sequence[int] = (),
        activations: Activations | None = None,
        cache: Callable[[str], CompiledCache] = no_cache,
    ) -> None:
        """`others`: more sizes of pictures that are to be run. `activations` are needed for 8 bits. `cache` makes the
        cache for a version of OpenVINO.

        Raises NotInstalledError.
        """
        self._path, self._size, self._config = path, size, config
        self._sizes = sorted({size, *others})
        self._activations = activations
        openvino = _openvino()
        self._core = openvino.Core()
        self._cache = cache(openvino.get_version())
        self._float: Any = None  # the network in float, once it has been read

    def reference(self) -> Predict:
        """The float32 reference, for one thread at a time and pictures of `size`."""
        return _in_loader_thread(self._load_reference)

    def load(self, precision: str) -> Predict:
        """The network in a precision, for as many threads as there are lanes; more wait."""
        return _in_loader_thread(lambda: self._load(precision))

    def cached_choice(self, asked: str) -> tuple[Predict, str] | None:
        """The network in the precision that was last chosen for `asked`, and that precision; None if it is not in the
        cache."""
        chosen = self._cache.get(f"chosen for {asked}")
        if chosen is None:
            return None
        precision = bytes(chosen).decode()
        return self.load(precision), precision

    def store_choice(self, asked: str, chosen: str) -> None:
        """Store that `chosen` was chosen for `asked`."""
        self._cache.put(f"chosen for {asked}", chosen.encode())

    def _load_reference(self) -> Predict:
        with self._failures():
            _prepare_conversions()
            options = _options(FLOAT32, 1, self._config.threads)
            compiled = self._core.compile_model(self._in_float(), "CPU", options)
            return RequestPool([_InferRequest(compiled, [self._size])])

    def _load(self, precision: str) -> Predict:
        key = f"{precision} {self._sizes}"
        with self._failures():
            _prepare_conversions()
            if (stored := self._cache.get(key)) is not None:
                try:
                    return self._pool(stored, precision)
                except RuntimeError as error:
                    _log.warning("OpenVINO rejects a cached network, compiling again: %s", error)
                    self._cache.remove(key)
            options = _options(precision, 1, 1)
            compiled = self._core.compile_model(self._network_for(precision), "CPU", options)
            content = compiled.export_model().getvalue()
            del compiled
            self._cache.put(key, content)
            # From the cache's file, if there is one: the system may drop its pages and read them again.
            return self._pool(self._cache.get(key) or memoryview(bytearray(content)), precision)

    def _pool(self, network: memoryview, precision: str) -> RequestPool:
        """Requests of a compiled network, which any number of lanes and threads can run."""
        lanes, threads = self._config.lanes, self._config.threads
        if lanes == 1:
            return RequestPool(self._requests(network, precision, 1, threads, self._sizes))
        smaller = [size for size in self._sizes if size <= self._size]
        narrow = self._requests(network, precision, lanes, threads, smaller)
        several = max(threads, min(lanes * threads, MAX_CORES_PER_PICTURE))
        (broad,) = self._requests(network, precision, 1, several, self._sizes)
        return RequestPool(narrow, broad, self._size)

    def _requests(
        self, network: memoryview, precision: str, lanes: int, threads: int, sizes: Sequence[int]
    ) -> list[Request]:
        """A request for each of the `lanes`, with `threads` threads each."""
        compiled = self._core.import_model(_tensor(network), "CPU", _options(precision, lanes, threads))
        return [_InferRequest(compiled, sizes, network) for _ in range(lanes)]

    def _network_for(self, precision: str) -> Any:
        """The network to compile for a precision, for all sizes."""
        network = self._in_float().clone()
        if precision == EIGHT_BITS:
            if self._activations is None:
                raise LoadError(
                    f"{self._path}: 8 bits need activations.json: export the model with --calibrate"
                )
            quantise(network, self._activations)
        if len(self._sizes) > 1:
            allow_input_sizes(network, contract.INPUT_NAME, self._sizes)
        return network

    def _in_float(self) -> Any:
        if self._float is None:
            self._float = self._core.read_model(str(self._path))
            image = self._float.input(contract.INPUT_NAME)
            self._float.reshape({image: [1, self._size, self._size, 3]})
            restore_kernels(self._float)
            if len(self._sizes) == 1:  # What this makes of it is bound to its size.
                simplify_side_maps(self._float)
        return self._float

    @contextmanager
    def _failures(self) -> Iterator[None]:
        with _memory_errors():
            try:
                yield
            except RuntimeError as error:
                if _is_out_of_memory(error):
                    raise
                raise LoadError(f"{self._path}: not a SavedModel that OpenVINO runs: {error}") from None


class Request(Protocol):
    """Runs the network on one picture at a time."""

    def run(self, image: NDArray[np.uint8]) -> Alphas:
        """The alpha `[1,S,S]` of an image `[1,S,S,3]`. The caller owns the array."""


class _InferRequest:
    """The buffers for one run of the network, of pictures of these `sizes`."""

    def __init__(self, compiled: Any, sizes: Sequence[int], network: memoryview | None = None) -> None:
        self._request = compiled.create_infer_request()
        self._network = network  # OpenVINO reads it for as long as it runs, without holding it.
        self._images = {
            size: _tensor(memoryview(bytearray(size * size * 3)), [1, size, size, 3]) for size in sizes
        }
        self._pixels: dict[int, NDArray[np.uint8]] = {size: each.data for size, each in self._images.items()}

    def run(self, image: NDArray[np.uint8]) -> Alphas:
        size = image.shape[1]
        np.copyto(self._pixels[size], image)
        self._request.set_input_tensor(self._images[size])
        self._request.start_async()
        self._request.wait()
        alpha: Alphas = self._request.get_output_tensor().data
        return alpha[..., 0].copy()


class RequestPool:
    """A pool: as many threads as there are `requests` may run pictures at once; others wait. `broad`, if there is
    one, uses several cores, for pictures that are alone, and for those larger than `largest`, one at a time: each
    request holds the maps of the largest picture that it has seen."""

    def __init__(
        self, requests: Sequence[Request], broad: Request | None = None, largest: int | None = None
    ) -> None:
        self._free: queue.SimpleQueue[Request] = queue.SimpleQueue()
        for each in requests:
            self._free.put(each)
        self._broad = broad
        self._largest = largest
        self._broad_in_use = threading.Lock()
        self._in_flight = 0
        self._last_overlap = float("-inf")
        self._lock = threading.Lock()

    def __call__(self, batch: Batch) -> Alphas:
        """Raises MemoryError if there is too little memory."""
        with self._acquire(batch.shape[1]) as request, _memory_errors():
            return np.concatenate([request.run(batch[number, None]) for number in range(len(batch))])

    @contextmanager
    def _acquire(self, size: int) -> Iterator[Request]:
        alone = self._begin()
        large = self._largest is not None and size > self._largest
        try:
            if self._broad is not None and (alone or large):
                with self._broad_in_use:
                    yield self._broad
            else:
                request = self._free.get()
                try:
                    yield request
                finally:
                    self._free.put(request)
        finally:
            with self._lock:
                self._in_flight -= 1

    def _begin(self) -> bool:
        """Count the run; return whether it is alone and no two runs have overlapped lately."""
        now = time.monotonic()
        with self._lock:
            if self._in_flight:
                self._last_overlap = now
            self._in_flight += 1
            return now - self._last_overlap > NO_OVERLAP_S


def _options(precision: str, lanes: int, threads: int) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "NUM_STREAMS": lanes,
        "INFERENCE_NUM_THREADS": lanes * threads,
        "ENABLE_HYPER_THREADING": True,  # `config.threads` already counts cores as intended.
        "ENABLE_CPU_PINNING": False,  # Decoding and encoding share the cores.
    }


def _tensor(content: memoryview, shape: Sequence[int] | None = None) -> Any:
    """Bytes as OpenVINO takes them, without a copy: whoever gets it keeps `content`."""
    array = np.frombuffer(content, np.uint8)
    return _openvino().Tensor(array if shape is None else array.reshape(shape), shared_memory=True)


def _in_loader_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own, one at a time. OpenVINO's threads inherit the niceness of the thread that
    creates them."""
    with _loading, ThreadPoolExecutor(1, "openvino", lower_priority) as thread:
        return thread.submit(work).result()


@cache
def _prepare_conversions() -> None:
    """Make all calls of a run once."""
    openvino = _openvino()
    image = openvino.opset8.parameter([1, 1, 1, 3], np.uint8)
    network = openvino.Model([openvino.opset8.convert(image, "f32")], [image], "conversions")
    compiled = openvino.Core().compile_model(network, "CPU", _options(FLOAT32, 1, 1))
    _InferRequest(compiled, [1]).run(np.zeros((1, 1, 1, 3), np.uint8))


def _openvino() -> Any:
    """Import the module `openvino`. Raises NotInstalledError."""
    try:
        with _without_tools():
            import openvino
    except ImportError as error:
        raise NotInstalledError(f"OpenVINO cannot be imported: {error}") from None
    return openvino


@contextmanager
def _without_tools() -> Iterator[None]:
    """Block OpenVINO's tools, which it imports if they are installed. They import a package that sends usage
    statistics to OpenVINO's makers, and running networks needs neither."""
    if _TOOLS in sys.modules:
        yield
        return
    sys.modules[_TOOLS] = None  # type: ignore[assignment] # makes the import fail
    try:
        yield
    finally:
        del sys.modules[_TOOLS]


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Raise MemoryError for OpenVINO's own out-of-memory errors."""
    try:
        yield
    except RuntimeError as error:
        if _is_out_of_memory(error):
            raise MemoryError(str(error)) from None
        raise


def _is_out_of_memory(error: RuntimeError) -> bool:
    return any(words in str(error) for words in _OUT_OF_MEMORY)
