"""The one stopwatch: when each stage of a photo's way began and ended, for its header, the metrics and the trace.

    with timing.collect() as stages:
        with timing.stage("decode"):
            ...
    timing.longest(stages)  # {"decode": 0.012}

Stages are kept for whoever collects them; where nobody does, one costs a look into a context variable. Knows no HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
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


Observe = Callable[[Stage], object]

_collection: Final[ContextVar[tuple[list[Stage], Observe] | None]] = ContextVar("stages", default=None)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Record what runs inside as one stage, unless it raises."""
    began = time.perf_counter()
    yield
    record(name, began, time.perf_counter())


def record(name: str, began: float, ended: float, *, pictures: int = 0) -> None:
    """Keep a stage that was measured elsewhere, if anybody collects."""
    if collection := _collection.get():
        stages, observe = collection
        stages.append(each := Stage(name, began, ended, pictures))
        observe(each)


@contextmanager
def collect(observe: Observe = lambda _stage: None) -> Iterator[list[Stage]]:
    """Collect the stages recorded inside, in the order of their ends; also in tasks that are begun inside, and in
    `app.concurrency.executor`. `observe` is called with each, in its thread. An outer collection gets them at the
    end."""
    outer, stages = _collection.get(), list[Stage]()
    token = _collection.set((stages, observe))
    try:
        yield stages
    finally:
        _collection.reset(token)
        if outer:
            outer[0].extend(stages)


@contextmanager
def ignore() -> Iterator[None]:
    """Record nothing of what runs inside."""
    token = _collection.set(None)
    try:
        yield
    finally:
        _collection.reset(token)


def longest(stages: Iterable[Stage]) -> dict[str, float]:
    """Seconds by name; of several stages of one name, which ran side by side, the longest."""
    seconds: dict[str, float] = {}
    for each in stages:
        seconds[each.name] = max(seconds.get(each.name, 0.0), each.ended - each.began)
    return seconds
