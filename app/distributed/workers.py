"""The workers of a bulk job: all stages in one process, or decoder, network and finisher in pools of their own.

    Decoder (CPU)                      Network (GPU)                   Finisher (CPU)
    file -> the network's squares  ->  squares -> alphas, batched  ->  file and alphas -> result, kept

What goes from one to the next is squares and alphas, 0.2 and 0.3 MB a view at 256 pixels. A photo's own pixels, 36 MB
at 12 megapixels, are not sent: the finisher decodes it once more. Knows no Ray.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

import cv2
import numpy as np
import pyarrow as pa
from pyarrow import parquet

from app import pipeline
from app.distributed import records
from app.distributed.plan import COLUMNS, full_target
from app.distributed.quarantine import AttemptLog, run_with_quarantine
from app.distributed.records import PHOTOS, Outcome, Photo
from app.distributed.sinks import BatchWriter, Sink
from app.distributed.storage import Storage
from app.errors import InferenceFailed
from app.imaging.output import Output
from app.inference.backends.base import Alphas, LoadError
from app.inference.predictor import Predictor
from app.inference.registry import model_source, only
from app.inference.repository import ModelVersion
from app.observability.metrics import Metrics
from app.pipeline import Pipeline, Prepared, busy_photos
from app.settings import Settings

BATCH_MAX: Final = 32
"""Photos that a worker has in hand at once: all that is lost with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """`source`: where photos are read, or row groups of them; `done`: ids of rows to pass over. `suffix`: of the
    files to write for rows. `stored`: the model that the job was begun with. `load`: makes the predictor, in the
    worker."""

    settings: Settings
    output: Output
    source: Storage
    sink: Sink
    done: frozenset[str]
    suffix: str
    stored: ModelVersion
    load: Callable[[Task], Predictor]

    def photos(self, batch: pa.Table) -> Iterator[list[Photo]]:
        """From rows as `PHOTOS` or `GROUPS` has them, so many at once as may be in hand. Raises OSError."""
        if batch.column_names == records.PHOTOS.names:
            yield records.photos_of(batch)
            return
        for row in batch.to_pylist():
            yield from self._of_group(row["file"], row["number"])

    def _of_group(self, name: str, number: int) -> Iterator[list[Photo]]:
        with self.source.files.open_input_file(self.source.path(name)) as stream:
            table = parquet.ParquetFile(stream)
            for rows in table.iter_batches(BATCH_MAX, row_groups=[number], columns=list(COLUMNS)):
                each = ((str(row["id"]), row["bytes"] or b"") for row in rows.to_pylist())
                yield [
                    Photo(key, full_target(key, self.suffix), data)
                    for key, data in each
                    if key not in self.done
                ]


def load_model(task: Task) -> Predictor:
    """The model of the worker's own node. Raises ContractError, or LoadError if the job was begun with another."""
    loaded = model_source(task.settings).load(task.stored)
    if loaded.manifest.sha256 != task.stored.manifest.sha256:
        raise LoadError(f"{task.stored.path} is not the same model on every node")
    return loaded


class FullPipelineActor:
    """Ray Data calls it with one batch after the other. Raises ContractError and LoadError when it is made."""

    def __init__(self, task: Task, book: AttemptLog) -> None:
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
            yield records.outcome_table(self._runner.run(self._batch(photos)))

    async def _batch(self, photos: Sequence[Photo]) -> list[Outcome]:
        writer = self._task.sink.writer(photos)
        made = await run_with_quarantine(
            self._book, photos, self._task.sink.kept, partial(self._one, writer), self._places
        )
        await asyncio.to_thread(writer.close, made)
        self._book.finish(made)
        return made

    async def _one(self, writer: BatchWriter, photo: Photo) -> Outcome:
        task, data = self._task, photo.data
        if data is None:
            data = await asyncio.to_thread(task.source.read, photo.id)
        result = await self._pipeline.run(data, task.output)
        return await asyncio.to_thread(writer.put, photo, result.finished)

    def close(self) -> None:
        """Let the threads go. Ray ends the process instead."""
        self._runner.run(self._pipeline.close())
        self._runner.close()


SQUARES: Final = PHOTOS.append(pa.field("code", pa.string())).append(pa.field("detail", pa.string()))
"""Between the stages; `views` is added: squares uint8 `[V,S,S,3]`, then alphas float32 `[V,S,S]`, as bytes."""
_VIEWS: Final = pa.field("views", pa.binary())


class _StageActor:
    """Threads that work at photos, one each."""

    def __init__(self, task: Task, book: AttemptLog) -> None:
        cv2.setNumThreads(1)
        self.task = task
        self.book = book
        self.runner = asyncio.Runner()
        self.threads = ThreadPoolExecutor(task.settings.cpu_thread_count, "photo")

    def close(self) -> None:
        """Let the threads go. Ray ends the process instead."""
        self.threads.shutdown()
        self.runner.close()

    def prepare(self, photo: Photo) -> Prepared:
        task, manifest = self.task, self.task.stored.manifest
        data = task.source.read(photo.id) if photo.data is None else photo.data
        limit = task.settings.max_pixels
        pipeline.count_pixels(data, task.output, max_pixels=limit)
        size, geometry = manifest.input_size, manifest.geometry
        return pipeline.prepare(data, task.output, size, geometry, max_pixels=limit)


class DecodeActor(_StageActor):
    """Rows as `Task.photos` takes them, to rows as SQUARES has them."""

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Photos that cannot be decoded go on, with their code."""
        for photos in self.task.photos(batch):
            yield self._decode(photos)

    def _decode(self, photos: Sequence[Photo]) -> pa.Table:
        views: dict[str, bytes] = {}

        async def do(photo: Photo) -> Outcome:
            loop = asyncio.get_running_loop()
            prepared = await loop.run_in_executor(self.threads, self.prepare, photo)
            views[photo.id] = np.stack(prepared.views).tobytes()
            return Outcome(photo.id)

        made = self.runner.run(
            run_with_quarantine(self.book, photos, _none_is_kept, do, self.task.settings.cpu_thread_count)
        )
        by_id = {outcome.id: outcome for outcome in made}
        rows = [
            {
                "id": photo.id,
                "target": photo.target,
                "data": photo.data,
                "code": by_id[photo.id].code,
                "detail": by_id[photo.id].detail,
                "views": views.get(photo.id),
            }
            for photo in photos
        ]
        return pa.Table.from_pylist(rows, SQUARES.append(_VIEWS))


class InferenceActor:
    """Rows with squares, to rows with alphas."""

    def __init__(self, task: Task) -> None:
        self._predictor = task.load(task)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """As many pictures at once as the predictor takes. A picture whose alpha is no number gets its code."""
        size = self._predictor.input_size
        rows = batch.to_pylist()
        squares = [
            np.frombuffer(row["views"], np.uint8).reshape(-1, size, size, 3) for row in rows if row["views"]
        ]
        alphas = iter(self._predictor.predict_each(np.concatenate(squares)) if squares else [])
        for row in rows:
            if row["views"]:
                own = [next(alphas) for _ in range(len(row["views"]) // (size * size * 3))]
                row |= _row(own)
        return pa.Table.from_pylist(rows, SQUARES.append(_VIEWS))


def _row(alphas: Sequence[Alphas | InferenceFailed]) -> dict[str, object]:
    good = []
    for alpha in alphas:
        if isinstance(alpha, InferenceFailed):
            return {"views": None, "code": alpha.code, "detail": alpha.detail}
        good.append(alpha.astype(np.float32))
    return {"views": np.stack(good).tobytes()}


class FinishActor(_StageActor):
    """Rows with alphas, to rows as `OUTCOMES` has them."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Keeps the results. Raises OSError where a batch as a whole cannot be kept."""
        rows = {row["id"]: _Row(row["views"], row["code"], row["detail"]) for row in batch.to_pylist()}
        return records.outcome_table(self.runner.run(self._batch(records.photos_of(batch), rows)))

    async def _batch(self, photos: Sequence[Photo], rows: dict[str, _Row]) -> list[Outcome]:
        writer, kept = self.task.sink.writer(photos), self.task.sink.kept

        async def do(photo: Photo) -> Outcome:
            work = partial(self._finish, writer, photo, rows[photo.id])
            return await asyncio.get_running_loop().run_in_executor(self.threads, work)

        made = await run_with_quarantine(self.book, photos, kept, do, self.task.settings.cpu_thread_count)
        await asyncio.to_thread(writer.close, made)
        self.book.finish(made)
        return made

    def _finish(self, writer: BatchWriter, photo: Photo, row: _Row) -> Outcome:
        if row.views is None:
            return Outcome(photo.id, row.code, row.detail)
        size = self.task.stored.manifest.input_size
        alphas = np.frombuffer(row.views, np.float32).reshape(-1, size, size)
        finished = pipeline.finish(
            self.prepare(photo), list(alphas), self.task.output, self.task.stored.manifest
        )
        return writer.put(photo, finished)


@dataclass(frozen=True, slots=True)
class _Row:
    views: bytes | None
    code: str
    detail: str


def _none_is_kept(_photos: Sequence[Photo]) -> set[str]:
    return set()
