"""What every worker of a bulk job must know, whatever stage it works at, in a form that can be sent to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
from pyarrow import parquet

from app.bulk import outcomes
from app.bulk.outcomes import Photo
from app.bulk.sinks import Sink
from app.bulk.sources import COLUMNS, full_target
from app.bulk.storage import Storage
from app.network.running import LoadError
from app.output import Output
from app.predictor import Predictor
from app.serving.source import model_source
from app.serving.store import Stored
from app.settings import Settings
from model.matting import Quality

BATCH_MAX: Final = 32
"""Photos that a worker has in hand at once: all that is lost with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """`source`: where photos are read, or row groups of them; `done`: ids of rows to pass over. `suffix`: of the
    files to write for rows. `stored`: the model that the job was begun with. `load`: makes the predictor, in the
    worker."""

    settings: Settings
    output: Output
    quality: Quality
    source: Storage
    sink: Sink
    done: frozenset[str]
    suffix: str
    stored: Stored
    load: Callable[[Task], Predictor]

    def photos(self, batch: pa.Table) -> Iterator[list[Photo]]:
        """From rows as `PHOTOS` or `GROUPS` has them, so many at once as may be in hand. Raises OSError."""
        if batch.column_names == outcomes.PHOTOS.names:
            yield outcomes.photos_of(batch)
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
