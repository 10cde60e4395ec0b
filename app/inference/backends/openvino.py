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
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.concurrency.executor import lower_priority
from app.inference.backends.base import Alphas, Batch, ExecutionConfig, LoadError, Predict
from app.inference.backends.compiled_cache import CompiledCache
from app.inference.backends.int8 import quantise
from app.inference.backends.openvino_graph import restore_kernels, simplify_side_maps
from app.inference.backends.precision import EIGHT_BITS, Narrow
from model import contract
from model.contract import Activations

_HINTS: Final = {"float32": "f32", "bfloat16": "bf16", EIGHT_BITS: "f32"}
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
    meanwhile. Two threads that do so at the same time deadlock. So everything that a run needs is done once per
    request here, by one thread at a time, before other threads see the request.
    """

    def __init__(
        self,
        path: Path,
        size: int,
        config: ExecutionConfig,
        *,
        activations: Activations | None = None,
        cache: Callable[[str], CompiledCache] = no_cache,
    ) -> None:
        """`activations` are needed for 8 bits. `cache` makes the cache for a version of OpenVINO.

        Raises NotInstalledError.
        """
        self._path, self._size, self._config = path, size, config
        self._activations = activations
        openvino = _openvino()
        self._core = openvino.Core()
        self._cache = cache(openvino.get_version())
        self._float: Any = None  # the network in float, once it has been read

    def reference(self) -> Predict:
        """The float32 reference, for one thread at a time."""
        return _in_loader_thread(
            lambda: RequestPool(self._compile("float32", 1, self._config.threads, keep=False))
        )

    def in_float32(self) -> Predict:
        """The network in float32, for as many threads as there are lanes; more wait."""
        return _in_loader_thread(lambda: self._load("float32"))

    def narrowed(self, kind: Narrow, _probe: Batch) -> Predict:
        """The network in a lower precision, otherwise as `in_float32`."""
        return _in_loader_thread(lambda: self._load(kind))

    def cached_choice(self, asked: str) -> tuple[Predict, str] | None:
        """The network in the precision that was last chosen for `asked`, and that precision; None if it is not in the
        cache."""
        chosen = self._cache.get(f"chosen for {asked}")
        if chosen is None:
            return None
        precision = chosen.decode()
        return _in_loader_thread(lambda: self._load(precision)), precision

    def store_choice(self, asked: str, chosen: str) -> None:
        """Store that `chosen` was chosen for `asked`."""
        self._cache.put(f"chosen for {asked}", chosen.encode())

    def _network_for(self, precision: str) -> Any:
        """The network to compile for a precision."""
        if self._float is None:
            self._float = self._read()
        if precision != EIGHT_BITS:
            return self._float
        if self._activations is None:
            raise LoadError(f"{self._path}: 8 bits need activations.json: export the model with --calibrate")
        narrow = self._float.clone()
        quantise(narrow, self._activations)
        return narrow

    def _read(self) -> Any:
        with self._failures():
            model = self._core.read_model(str(self._path))
            model.reshape({model.input(contract.INPUT_NAME): [1, self._size, self._size, 3]})
            restore_kernels(model)
            simplify_side_maps(model)
        return model

    def _load(self, precision: str) -> Predict:
        lanes, threads = self._config.lanes, self._config.threads
        requests = self._compile(precision, lanes, threads)
        if lanes == 1:
            return RequestPool(requests)
        (broad,) = self._compile(precision, 1, max(threads, min(lanes * threads, MAX_CORES_PER_PICTURE)))
        return RequestPool(requests, broad)

    def _compile(self, precision: str, lanes: int, threads: int, *, keep: bool = True) -> list[Request]:
        """Compile the network; return a request for each of the `lanes`, with `threads` threads each."""
        options = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "NUM_STREAMS": lanes,
            "INFERENCE_NUM_THREADS": lanes * threads,
            "ENABLE_HYPER_THREADING": True,  # `config.threads` already counts cores as intended.
            "ENABLE_CPU_PINNING": False,  # Decoding and encoding share the cores.
        }
        with self._failures():
            compile_network = self._compile_cached if keep else self._compile_uncached
            compiled = compile_network(precision, options)
            return [_InferRequest(compiled) for _ in range(lanes)]

    def _compile_cached(self, precision: str, options: dict[str, Any]) -> Any:
        """Load the compiled network from the cache, or compile and store it."""
        key = f"{precision} {self._size} {options}"
        if (stored := self._cache.get(key)) is not None:
            try:
                return self._core.import_model(stored, "CPU", options)
            except RuntimeError as error:
                _log.warning("OpenVINO rejects a cached network, compiling again: %s", error)
                self._cache.remove(key)
        compiled = self._compile_uncached(precision, options)
        if self._cache.enabled:
            self._cache.put(key, compiled.export_model().getvalue())
        return compiled

    def _compile_uncached(self, precision: str, options: dict[str, Any]) -> Any:
        return self._core.compile_model(self._network_for(precision), "CPU", options)

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
    """The buffers for one run of the network."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        # Taken here once: two threads must not call get_tensor for the first time at the same time.
        self._image: NDArray[np.uint8] = self._request.get_tensor(compiled.input(contract.INPUT_NAME)).data
        self._alpha: Alphas = self._request.get_tensor(compiled.output(contract.OUTPUT_NAME)).data
        self.run(np.zeros_like(self._image))

    def run(self, image: NDArray[np.uint8]) -> Alphas:
        np.copyto(self._image, image)
        self._request.start_async()
        self._request.wait()
        return self._alpha[..., 0].copy()


class RequestPool:
    """A pool: as many threads as there are `requests` may run pictures at once; others wait. `broad`, if there is
    one, uses several cores, for pictures that are alone."""

    def __init__(self, requests: Sequence[Request], broad: Request | None = None) -> None:
        self._free: queue.SimpleQueue[Request] = queue.SimpleQueue()
        for each in requests:
            self._free.put(each)
        self._broad = broad
        self._in_flight = 0
        self._last_overlap = float("-inf")
        self._lock = threading.Lock()

    def __call__(self, batch: Batch) -> Alphas:
        """Raises MemoryError if there is too little memory."""
        with self._acquire() as request, _memory_errors():
            return np.concatenate([request.run(batch[number, None]) for number in range(len(batch))])

    @contextmanager
    def _acquire(self) -> Iterator[Request]:
        broad = self._broad if self._is_alone() else None
        request = broad or self._free.get()
        try:
            yield request
        finally:
            if not broad:
                self._free.put(request)
            with self._lock:
                self._in_flight -= 1

    def _is_alone(self) -> bool:
        """Count the run; return whether it is alone and no two runs have overlapped lately."""
        now = time.monotonic()
        with self._lock:
            if self._in_flight:
                self._last_overlap = now
            self._in_flight += 1
            return now - self._last_overlap > NO_OVERLAP_S


def _in_loader_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own, one at a time. OpenVINO's threads inherit the niceness of the thread that
    creates them."""
    with _loading, ThreadPoolExecutor(1, "openvino", lower_priority) as thread:
        return thread.submit(work).result()


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
