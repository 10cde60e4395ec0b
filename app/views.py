"""The views of one photo come in, and go through the batcher together: all of them, or none. Knows no pixels."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TypeVar

from app import stages
from app.batching import Batched, Batcher

In = TypeVar("In")
Out = TypeVar("Out")


def begin(batcher: Batcher[In, Out], views: Sequence[In]) -> list[asyncio.Task[Batched[Out]]]:
    """Each view on its way, in the order given."""
    return [asyncio.create_task(_through(batcher, view)) for view in views]


async def all_of(waiting: Sequence[asyncio.Task[Batched[Out]]]) -> list[Batched[Out]]:
    """Each view's output; when one fails, the others are withdrawn."""
    try:
        return list(await asyncio.gather(*waiting))
    finally:
        for each in waiting:
            each.cancel()


async def _through(batcher: Batcher[In, Out], view: In) -> Batched[Out]:
    since = time.perf_counter()
    batched = await batcher.submit(view)
    begun = since + batched.queue_s
    stages.note("queue", since, begun)
    stages.note("infer", begun, begun + batched.run_s, pictures=batched.size)
    return batched
