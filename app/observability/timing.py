"""When each stage of a request's work began and ended: noted where the work is done, kept for whoever collects it.

Knows no trace and no HTTP. Where nobody collects, a note costs one look into a context variable.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Stage:
    """From when to when, in seconds of `time.perf_counter`; `pictures`: how many shared it, 0 where none could."""

    name: str
    began: float
    ended: float
    pictures: int = 0


_collection: Final[ContextVar[list[Stage] | None]] = ContextVar("stages", default=None)


def record(name: str, began: float, ended: float, *, pictures: int = 0) -> None:
    """Keep what was measured, if the request that this is done for is collecting."""
    collection = _collection.get()
    if collection is not None:
        collection.append(Stage(name, began, ended, pictures))


@contextmanager
def collect() -> Iterator[list[Stage]]:
    """What is noted inside, in the order of the ends; in tasks that are begun inside, and in
    `app.concurrency.executor`, too."""
    collection: list[Stage] = []
    token = _collection.set(collection)
    try:
        yield collection
    finally:
        _collection.reset(token)
