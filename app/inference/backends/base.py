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
    """Where a model runs: "cpu" or "cuda", on a CPU by how many threads one batch is worked on, which of the GPUs
    that TensorFlow sees, and how many batches run at once."""

    device: str
    threads: int
    gpu: int = 0
    lanes: int = 1


class LoadError(Exception):
    """The model cannot be served on this machine as asked. The message says what to do about it."""


def give_memory_back() -> None:
    """Each step of loading leaves up to 200 MB of freed memory in glibc's hands, in pieces, and the next one would
    add its own. Other C libraries than glibc have no such call."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
