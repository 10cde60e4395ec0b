"""Batches of photos come in, all is done for them in this process, their outcomes go out. Knows no Ray.

The plain command's own pipeline: threads decode, finish and write while others run the network. Pixels stay here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial

import pyarrow as pa

from app.bulk import outcomes
from app.bulk.attempts import Book, survive
from app.bulk.outcomes import Outcome, Photo
from app.bulk.sinks import Shelf
from app.bulk.task import Task
from app.metrics import Metrics
from app.pipeline import Pipeline, busy_photos
from app.serving.source import only


class Whole:
    """Ray Data calls it with one batch after the other. Raises ContractError and LoadError when it is made."""

    def __init__(self, task: Task, book: Book) -> None:
        settings = task.settings
        self._task = task
        self._book = book
        self._places = busy_photos(settings, on_gpu=True)
        self._runner = asyncio.Runner()
        self._pipeline = Pipeline(settings, Metrics())
        self._runner.run(self._pipeline.start(only(task.stored.manifest, partial(task.load, task))))

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Rows as `Task.photos` takes them, to rows as `OUTCOMES` has them, in any order. Raises OSError where a
        batch as a whole cannot be kept."""
        for photos in self._task.photos(batch):
            yield outcomes.outcome_table(self._runner.run(self._batch(photos)))

    async def _batch(self, photos: Sequence[Photo]) -> list[Outcome]:
        shelf = self._task.sink.shelf(photos)
        made = await survive(
            self._book, photos, self._task.sink.kept, partial(self._one, shelf), self._places
        )
        await asyncio.to_thread(shelf.close, made)
        self._book.finish(made)
        return made

    async def _one(self, shelf: Shelf, photo: Photo) -> Outcome:
        task, data = self._task, photo.data
        if data is None:
            data = await asyncio.to_thread(task.source.read, photo.id)
        result = await self._pipeline.run(data, task.output, task.quality)
        return await asyncio.to_thread(shelf.put, photo, result.finished)

    def close(self) -> None:
        """Let the threads go. Ray ends the process instead."""
        self._runner.run(self._pipeline.close())
        self._runner.close()
