"""The workers of a bulk job: all stages in one process, or decoding, network and finishing in pools of their own.

    DecodeActor (CPU)                  InferenceActor (GPU)            FinishActor (CPU)
    file -> the network's squares  ->  squares -> alphas, batched  ->  file and alphas -> result, written

Stages send each other squares and alphas, 0.2 and 0.3 MB each at 256 pixels. A photo's own pixels, 36 MB at 12
megapixels, are not sent: FinishActor decodes the photo again. Knows no Ray.
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
from app.inference.registry import model_source, single_model
from app.inference.repository import ModelVersion
from app.observability.metrics import Metrics
from app.pipeline import Pipeline, Prepared, busy_photos
from app.settings import Settings

BATCH_MAX: Final = 32
"""Photos that a worker processes at once; as many are lost with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """`source`: where photos, or row groups of photos, are read. `done`: ids of rows to skip. `suffix`: of the files
    to write for rows. `model`: the model that the job started with. `load`: makes the predictor, in the worker."""

    settings: Settings
    output: Output
    source: Storage
    sink: Sink
    done: frozenset[str]
    suffix: str
    model: ModelVersion
    load: Callable[[Task], Predictor]

    def photos(self, batch: pa.Table) -> Iterator[list[Photo]]:
        """Photos from rows with the schema PHOTOS or GROUPS, at most BATCH_MAX at a time. Raises OSError."""
        if batch.column_names == records.PHOTOS.names:
            yield records.photos_of(batch)
            return
        for row in batch.to_pylist():
            yield from self._read_group(row["file"], row["number"])

    def _read_group(self, name: str, number: int) -> Iterator[list[Photo]]:
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
    """Load the model of the worker's own node. Raises ContractError, or LoadError if the job started with another."""
    loaded = model_source(task.settings).load(task.model)
    if loaded.manifest.sha256 != task.model.manifest.sha256:
        raise LoadError(f"{task.model.path} is not the same model on every node")
    return loaded


class FullPipelineActor:
    """All stages; Ray Data calls it with batches. The constructor raises ContractError and LoadError."""

    def __init__(self, task: Task, attempts: AttemptLog) -> None:
        settings = task.settings
        self._task = task
        self._attempts = attempts
        self._concurrency = busy_photos(settings, on_gpu=True)
        self._runner = asyncio.Runner()
        self._pipeline = Pipeline(settings, Metrics())
        self._runner.run(self._pipeline.start(single_model(task.model.manifest, partial(task.load, task))))

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Process rows that `Task.photos` accepts, to rows with the schema OUTCOMES, in any order. Raises OSError if
        a whole batch cannot be written."""
        for photos in self._task.photos(batch):
            yield records.outcome_table(self._runner.run(self._batch(photos)))

    async def _batch(self, photos: Sequence[Photo]) -> list[Outcome]:
        writer = self._task.sink.writer(photos)
        made = await run_with_quarantine(
            self._attempts,
            photos,
            self._task.sink.find_results,
            partial(self._process, writer),
            self._concurrency,
        )
        await asyncio.to_thread(writer.close, made)
        self._attempts.finish(made)
        return made

    async def _process(self, writer: BatchWriter, photo: Photo) -> Outcome:
        task, data = self._task, photo.data
        if data is None:
            data = await asyncio.to_thread(task.source.read, photo.id)
        result = await self._pipeline.run(data, task.output)
        return await asyncio.to_thread(writer.put, photo, result.finished)

    def close(self) -> None:
        """End the threads. Ray ends the process instead."""
        self._runner.run(self._pipeline.close())
        self._runner.close()


STAGE_ROWS: Final = PHOTOS.append(pa.field("code", pa.string())).append(pa.field("detail", pa.string()))
"""Rows between the stages, without `squares`: squares uint8 `[V,S,S,3]`, then alphas float32 `[V,S,S]`, as bytes."""
_SQUARES_COLUMN: Final = pa.field("squares", pa.binary())


class _StageActor:
    """A stage with threads that process one photo each."""

    def __init__(self, task: Task, attempts: AttemptLog) -> None:
        cv2.setNumThreads(1)
        self.task = task
        self.attempts = attempts
        self.runner = asyncio.Runner()
        self.threads = ThreadPoolExecutor(task.settings.cpu_thread_count, "photo")

    def close(self) -> None:
        """End the threads. Ray ends the process instead."""
        self.threads.shutdown()
        self.runner.close()

    def prepare(self, photo: Photo) -> Prepared:
        task, manifest = self.task, self.task.model.manifest
        data = task.source.read(photo.id) if photo.data is None else photo.data
        limit = task.settings.max_pixels
        pipeline.measure(data, task.output, max_pixels=limit, kinds=task.settings.kinds)
        size, geometry = manifest.input_size, manifest.geometry
        return pipeline.prepare(data, task.output, size, geometry, max_pixels=limit)


class DecodeActor(_StageActor):
    """Rows that `Task.photos` accepts, to STAGE_ROWS."""

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Decode the photos. Those that cannot be decoded are passed on with their error code."""
        for photos in self.task.photos(batch):
            yield self._decode(photos)

    def _decode(self, photos: Sequence[Photo]) -> pa.Table:
        squares: dict[str, bytes] = {}

        async def do(photo: Photo) -> Outcome:
            loop = asyncio.get_running_loop()
            prepared = await loop.run_in_executor(self.threads, self.prepare, photo)
            squares[photo.id] = np.stack(prepared.views).tobytes()
            return Outcome(photo.id)

        made = self.runner.run(
            run_with_quarantine(self.attempts, photos, _no_results, do, self.task.settings.cpu_thread_count)
        )
        by_id = {outcome.id: outcome for outcome in made}
        rows = [
            {
                "id": photo.id,
                "target": photo.target,
                "data": photo.data,
                "code": by_id[photo.id].code,
                "detail": by_id[photo.id].detail,
                "squares": squares.get(photo.id),
            }
            for photo in photos
        ]
        return pa.Table.from_pylist(rows, STAGE_ROWS.append(_SQUARES_COLUMN))


class InferenceActor:
    """Rows with squares, to rows with alphas."""

    def __init__(self, task: Task) -> None:
        self._predictor = task.load(task)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Run the network on as many pictures at once as it takes. A photo with alphas that are not finite gets an
        error code."""
        size = self._predictor.input_size
        rows = batch.to_pylist()
        squares = [
            np.frombuffer(row["squares"], np.uint8).reshape(-1, size, size, 3)
            for row in rows
            if row["squares"]
        ]
        alphas = iter(self._predictor.predict_each(np.concatenate(squares)) if squares else [])
        for row in rows:
            if row["squares"]:
                own = [next(alphas) for _ in range(len(row["squares"]) // (size * size * 3))]
                row |= _alphas_row(own)
        return pa.Table.from_pylist(rows, STAGE_ROWS.append(_SQUARES_COLUMN))


def _alphas_row(alphas: Sequence[Alphas | InferenceFailed]) -> dict[str, object]:
    good = []
    for alpha in alphas:
        if isinstance(alpha, InferenceFailed):
            return {"squares": None, "code": alpha.code, "detail": alpha.detail}
        good.append(alpha.astype(np.float32))
    return {"squares": np.stack(good).tobytes()}


class FinishActor(_StageActor):
    """Rows with alphas, to rows with the schema OUTCOMES."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Finish and write the photos. Raises OSError if a whole batch cannot be written."""
        rows = {row["id"]: _StageRow(row["squares"], row["code"], row["detail"]) for row in batch.to_pylist()}
        return records.outcome_table(self.runner.run(self._batch(records.photos_of(batch), rows)))

    async def _batch(self, photos: Sequence[Photo], rows: dict[str, _StageRow]) -> list[Outcome]:
        writer, find_results = self.task.sink.writer(photos), self.task.sink.find_results

        async def do(photo: Photo) -> Outcome:
            work = partial(self._finish, writer, photo, rows[photo.id])
            return await asyncio.get_running_loop().run_in_executor(self.threads, work)

        made = await run_with_quarantine(
            self.attempts, photos, find_results, do, self.task.settings.cpu_thread_count
        )
        await asyncio.to_thread(writer.close, made)
        self.attempts.finish(made)
        return made

    def _finish(self, writer: BatchWriter, photo: Photo, row: _StageRow) -> Outcome:
        if row.data is None:
            return Outcome(photo.id, row.code, row.detail)
        size = self.task.model.manifest.input_size
        alphas = np.frombuffer(row.data, np.float32).reshape(-1, size, size)
        finished = pipeline.finish(
            self.prepare(photo), list(alphas), self.task.output, self.task.model.manifest
        )
        return writer.put(photo, finished)


@dataclass(frozen=True, slots=True)
class _StageRow:
    data: bytes | None
    code: str
    detail: str


def _no_results(_photos: Sequence[Photo]) -> set[str]:
    return set()
