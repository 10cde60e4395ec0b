"""Write finished results: a file for each, or Parquet files of many. Knows no pixels, and no Ray.

Results are written completely or not at all. Names depend on the photos alone, so a photo that is processed again,
after a crash, overwrites the same file.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import pyarrow as pa
from pyarrow import parquet

from app.distributed.records import Outcome, Photo, written
from app.distributed.storage import Storage
from app.pipeline import Finished

PART_NAME: Final = "part-"
RESULTS: Final = pa.schema(
    [
        ("id", pa.string()),
        ("matte", pa.binary()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("confidence", pa.float64()),
        ("error", pa.string()),
    ]
)
"""Columns of the Parquet files. `matte` is the finished file, also if it is a cut-out."""


class BatchWriter(Protocol):
    """Writes the results of one batch."""

    def put(self, photo: Photo, finished: Finished) -> Outcome:
        """Write a result. Thread-safe. Raises OSError."""

    def close(self, outcomes: Sequence[Outcome]) -> None:
        """End the batch, with the outcomes of all its photos. Raises OSError."""


class Sink(Protocol):
    """Where results are written."""

    @property
    def storage(self) -> Storage:
        """The folder of the results."""

    def writer(self, photos: Sequence[Photo]) -> BatchWriter:
        """The writer for these photos."""

    def find_results(self, photos: Sequence[Photo]) -> set[str]:
        """Ids of the photos whose results exist. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Files:
    """A file per photo, written as soon as it is finished. `overwrite`: existing files may be of an earlier job."""

    storage: Storage
    overwrite: bool = False

    def writer(self, photos: Sequence[Photo]) -> BatchWriter:
        """The writer for these photos."""
        return self

    def find_results(self, photos: Sequence[Photo]) -> set[str]:
        """Ids of the photos whose files exist."""
        if self.overwrite:
            return set()
        existing = self.storage.existing([photo.target for photo in photos])
        return {photo.id for photo in photos if photo.target in existing}

    def put(self, photo: Photo, finished: Finished) -> Outcome:
        """Write the file."""
        self.storage.write(photo.target, finished.data)
        return written(photo, finished)

    def close(self, outcomes: Sequence[Outcome]) -> None:
        """Do nothing: all files are written."""


@dataclass(frozen=True, slots=True)
class Parquet:
    """A Parquet file per batch, with the columns RESULTS; failed photos are rows with their `error`."""

    storage: Storage

    def writer(self, photos: Sequence[Photo]) -> BatchWriter:
        """The writer for these photos."""
        return _Rows(self.storage, part_name(photos))

    def find_results(self, photos: Sequence[Photo]) -> set[str]:
        """None: an unfinished batch has no file, or one that the same batch overwrites."""
        return set()


@dataclass(slots=True)
class _Rows:
    storage: Storage
    name: str
    data: dict[str, bytes] = field(default_factory=dict)

    def put(self, photo: Photo, finished: Finished) -> Outcome:
        self.data[photo.id] = finished.data
        return written(photo, finished)

    def close(self, outcomes: Sequence[Outcome]) -> None:
        rows = [
            {
                "id": each.id,
                "matte": self.data.get(each.id),
                "width": each.width or None,
                "height": each.height or None,
                "confidence": None if each.code else each.confidence,
                "error": f"{each.code}: {each.detail}" if each.code else None,
            }
            for each in outcomes
        ]
        self.storage.write(self.name, to_parquet(pa.Table.from_pylist(rows, RESULTS)))


def part_name(photos: Sequence[Photo]) -> str:
    """The name of the file with the results of these photos."""
    ids = "\n".join(sorted(photo.id for photo in photos))
    return f"{PART_NAME}{hashlib.sha256(ids.encode()).hexdigest()[:32]}.parquet"


def to_parquet(table: pa.Table) -> bytes:
    """Encode a table as a Parquet file, uncompressed since pictures already are compressed."""
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="none")
    return buffer.getvalue()
