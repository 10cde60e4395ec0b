"""Memory runs out: fewer pictures at once, and an answer for those that nothing is left for.

Knows sizes of batches and how libraries say it, and nothing of pictures.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import cv2

from app.errors import OutOfMemory

TRY_AGAIN_AFTER: Final = 100
"""Good batches. To try a size that is still too large costs about one batch, so at most one in a hundred is lost."""

_log = logging.getLogger(__name__)


class Headroom:
    """Of the `sizes` that the network takes, the smallest first, the largest that memory allows: its `limit`.

    It is less after memory ran out, and more again after it has sufficed for long. Shared by all lanes.
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

    def ran_out(self, size: int) -> bool:
        """Memory was too little for `size` pictures: take half from now on. False if there is no smaller batch."""
        with self._lock:
            self._good = 0
            smaller = [each for each in self._sizes if each <= size // 2]
            if not smaller:
                return False
            self._limit = min(self._limit, smaller[-1])
            _log.warning("memory ran out at %d pictures, batches have at most %d now", size, self._limit)
            return True

    def sufficed(self) -> None:
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
