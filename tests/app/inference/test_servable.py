from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from app.errors import InferenceFailed
from app.inference import servable
from app.inference.batcher import Batcher
from app.observability import timing


async def doubled(items: Sequence[int]) -> list[int]:
    return [2 * item for item in items]


async def test_outputs_come_in_the_order_of_the_views() -> None:
    batcher = Batcher(doubled, max_size=2, max_wait_s=0.0, max_queue=8)
    batched = await servable.gather(servable.submit_all(batcher.submit, [1, 2, 3]))
    assert [each.output for each in batched] == [2, 4, 6]
    assert [each.size for each in batched] == [2, 2, 1]
    await batcher.close(1)


async def test_each_view_notes_its_wait_and_its_batch_one_after_the_other() -> None:
    batcher = Batcher(doubled, max_size=2, max_wait_s=0.0, max_queue=8)
    with timing.collect() as noted:
        await servable.gather(servable.submit_all(batcher.submit, [1]))
    queue, infer = noted
    assert (queue.name, infer.name, infer.pictures) == ("queue", "infer", 1)
    assert queue.began <= queue.ended == infer.began <= infer.ended
    await batcher.close(1)


async def test_when_one_fails_the_others_are_withdrawn() -> None:
    never = asyncio.Event()

    async def fail_first(items: Sequence[int]) -> list[int]:
        if 1 in items:
            raise InferenceFailed("no")
        await never.wait()
        return list(items)

    batcher = Batcher(fail_first, max_size=1, max_wait_s=0.0, max_queue=8, lanes=1)
    waiting = servable.submit_all(batcher.submit, [1, 2, 3])
    with pytest.raises(InferenceFailed):
        await servable.gather(waiting)
    await asyncio.wait(waiting)
    assert [each.cancelled() for each in waiting] == [False, True, True]
    await batcher.close(0)
