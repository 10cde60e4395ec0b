"""What all backends share: batches, alphas, where a network runs, and the error when it cannot."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Batch = NDArray[np.uint8]  # pictures `[N,S,S,3]`
Alphas = NDArray[np.float32]  # `[N,S,S]`, 0..1
Predict = Callable[[Batch], Alphas]


@dataclass(frozen=True, slots=True)
class ExecutionConfig:
    """Where a model runs: `device` is "cpu" or "cuda"; `threads` work on one batch on a CPU; `gpu` is the index among
    TensorFlow's GPUs; `lanes` batches run at once."""

    device: str
    threads: int
    gpu: int = 0
    lanes: int = 1


class LoadError(Exception):
    """The model cannot be served on this machine with these settings. The message says what to change."""


def give_memory_back() -> None:
    """Return freed memory to the system. Each step of loading leaves up to 200 MB of it with glibc, in pieces that
    the next step does not reuse. C libraries other than glibc have no such call."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
