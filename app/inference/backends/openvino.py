"""A SavedModel comes in, functions that run it on this machine's CPU by OpenVINO go out: uint8 `[N,S,S,3]` to float32
`[N,S,S]`.

OpenVINO reads the very files that TensorFlow does; what it has compiled is kept (`compiled_cache`), so that a
second start reads no model at all. One picture at a time: two at once cost as much each, and each size of batch
would hold the network once more. While pictures come one by one, each gets several cores; as soon as two meet, each
gets its own, which takes less of all cores' time. Knows no TensorFlow and no GPU.
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
"""Of the precision, which is never left to OpenVINO: on ARM it would take float16. In 8 bits it is that of what
little stays in float."""
BROAD: Final = 4  # cores for a picture that is alone, at the most
QUIET_S: Final = 0.5  # since two pictures last met: before, the next ones are expected to meet as well
_TOOLS: Final = "openvino.tools"
_SHORT_OF_MEMORY: Final = ("bad_alloc", "can't alloc", "Failed to allocate")
_loading = threading.Lock()
_log = logging.getLogger(__name__)

T = TypeVar("T")


class NotInstalledError(LoadError):
    """There is no OpenVINO for this Python."""


def no_cache(compiler: str) -> CompiledCache:
    """A cache that keeps nothing."""
    return CompiledCache(None, "", compiler)


class OpenVinoModel:
    """A SavedModel as OpenVINO reads it, for pictures of `size` pixels a side. Whatever loads runs in one thread.

    OpenVINO's Python part prepares a conversion of types where it is first used, under a lock of C++; meanwhile it
    gives Python's lock away. Two threads that come there at once wait for each other for ever. So whatever a run
    needs is done once for each request here, by one thread at a time, before others see it.
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
        """`activations` are needed for 8 bits. `cache` keeps what is compiled by a version of OpenVINO.

        Raises NotInstalledError.
        """
        self._path, self._size, self._config = path, size, config
        self._activations = activations
        openvino = _openvino()
        self._core = openvino.Core()
        self._cache = cache(openvino.get_version())
        self._float: Any = None  # the network as it was read, when that was necessary

    def exactly(self) -> Predict:
        """In float32, for a single thread at a time."""
        return _alone(lambda: Requests(self._compiled("float32", 1, self._config.threads, keep=False)))

    def in_float32(self) -> Predict:
        """For as many threads as there are lanes; more wait for their turn."""
        return _alone(lambda: self._to_serve("float32"))

    def narrowed(self, kind: Narrow, _probe: Batch) -> Predict:
        """As `in_float32`."""
        return _alone(lambda: self._to_serve(kind))

    def remembered(self, asked: str) -> tuple[Predict, str] | None:
        """The network as a function in the precision that was chosen when `asked` was asked for the last time, if its
        compiled form was kept; else None."""
        chosen = self._cache.get(f"chosen for {asked}")
        if chosen is None:
            return None
        precision = chosen.decode()
        return _alone(lambda: self._to_serve(precision)), precision

    def remember(self, asked: str, chosen: str) -> None:
        """`chosen` is what `remembered` will give for `asked`."""
        self._cache.put(f"chosen for {asked}", chosen.encode())

    def _in(self, precision: str) -> Any:
        """The network that is to be compiled for a precision."""
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

    def _to_serve(self, precision: str) -> Predict:
        lanes, threads = self._config.lanes, self._config.threads
        requests = self._compiled(precision, lanes, threads)
        if lanes == 1:
            return Requests(requests)
        (broad,) = self._compiled(precision, 1, max(threads, min(lanes * threads, BROAD)))
        return Requests(requests, broad)

    def _compiled(self, precision: str, lanes: int, threads: int, *, keep: bool = True) -> list[Request]:
        """One for each lane, of so many threads."""
        options = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "NUM_STREAMS": lanes,
            "INFERENCE_NUM_THREADS": lanes * threads,
            "ENABLE_HYPER_THREADING": True,  # What a core is has been decided when they were counted.
            "ENABLE_CPU_PINNING": False,  # Decoding and encoding use the same cores.
        }
        with self._failures():
            compiled = self._compiled_before(precision, options) if keep else self._anew(precision, options)
            return [_Request(compiled) for _ in range(lanes)]

    def _compiled_before(self, precision: str, options: dict[str, Any]) -> Any:
        """From the cache, else compiled and kept."""
        what = f"{precision} {self._size} {options}"
        if (kept := self._cache.get(what)) is not None:
            try:
                return self._core.import_model(kept, "CPU", options)
            except RuntimeError as error:
                _log.warning("a compiled network is not taken, compiling anew: %s", error)
                self._cache.forget(what)
        compiled = self._anew(precision, options)
        if self._cache.keeps:
            self._cache.put(what, compiled.export_model().getvalue())
        return compiled

    def _anew(self, precision: str, options: dict[str, Any]) -> Any:
        return self._core.compile_model(self._in(precision), "CPU", options)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        with _memory_errors():
            try:
                yield
            except RuntimeError as error:
                if _is_short_of_memory(error):
                    raise
                raise LoadError(f"{self._path}: not a SavedModel that OpenVINO runs: {error}") from None


class Request(Protocol):
    """One run of the network at a time."""

    def run(self, image: NDArray[np.uint8]) -> Alphas:
        """Of an image `[1,S,S,3]` the alpha `[1,S,S]`, the caller's own."""


class _Request:
    """The memory that one run of the network needs."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        # Seen through once and for all: to ask for it is what two threads must not do for the first time at once.
        self._image: NDArray[np.uint8] = self._request.get_tensor(compiled.input(contract.INPUT_NAME)).data
        self._alpha: Alphas = self._request.get_tensor(compiled.output(contract.OUTPUT_NAME)).data
        self.run(np.zeros_like(self._image))

    def run(self, image: NDArray[np.uint8]) -> Alphas:
        np.copyto(self._image, image)
        self._request.start_async()
        self._request.wait()
        return self._alpha[..., 0].copy()


class Requests:
    """As many threads as there are `requests` may run pictures at once; others wait. `broad`, if there is one, is for
    pictures that come alone."""

    def __init__(self, requests: Sequence[Request], broad: Request | None = None) -> None:
        self._free: queue.SimpleQueue[Request] = queue.SimpleQueue()
        for each in requests:
            self._free.put(each)
        self._broad = broad
        self._inside = 0
        self._met_at = float("-inf")
        self._counting = threading.Lock()

    def __call__(self, batch: Batch) -> Alphas:
        """Raises MemoryError where memory is too short."""
        with self._one() as request, _memory_errors():
            return np.concatenate([request.run(batch[number, None]) for number in range(len(batch))])

    @contextmanager
    def _one(self) -> Iterator[Request]:
        broad = self._broad if self._enter() else None
        request = broad or self._free.get()
        try:
            yield request
        finally:
            if not broad:
                self._free.put(request)
            with self._counting:
                self._inside -= 1

    def _enter(self) -> bool:
        """Whether nobody else is inside, nor has met another there lately."""
        now = time.monotonic()
        with self._counting:
            if self._inside:
                self._met_at = now
            self._inside += 1
            return now - self._met_at > QUIET_S


def _alone(work: Callable[[], T]) -> T:
    """What `work` gives, done by a thread of its own while no other such work is. OpenVINO's threads have the
    niceness of the one that makes them."""
    with _loading, ThreadPoolExecutor(1, "openvino", lower_priority) as thread:
        return thread.submit(work).result()


def _openvino() -> Any:
    """The module `openvino`. Raises NotInstalledError."""
    try:
        with _without_tools():
            import openvino
    except ImportError as error:
        raise NotInstalledError(f"OpenVINO cannot be imported: {error}") from None
    return openvino


@contextmanager
def _without_tools() -> Iterator[None]:
    """OpenVINO imports its tools where it finds them, and they a package that reports to OpenVINO's makers how they
    are used. What runs networks needs neither."""
    if _TOOLS in sys.modules:
        yield
        return
    sys.modules[_TOOLS] = None  # type: ignore[assignment] # Python's way to say that there is none.
    try:
        yield
    finally:
        del sys.modules[_TOOLS]


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Raises MemoryError for OpenVINO's own errors that say so."""
    try:
        yield
    except RuntimeError as error:
        if _is_short_of_memory(error):
            raise MemoryError(str(error)) from None
        raise


def _is_short_of_memory(error: RuntimeError) -> bool:
    return any(words in str(error) for words in _SHORT_OF_MEMORY)
