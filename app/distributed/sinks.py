"""Finished results come in, and are kept: a file for each, or Parquet of many. Knows no pixels, and no Ray.

Whatever is there is whole. Names follow from the photos alone, so who does a photo once more, after a crash, writes
the same file over again.
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
"""Columns of the Parquet that is written. `matte` is the finished file, also where a cut-out was wished for."""


class BatchWriter(Protocol):
    """The results of one batch."""

    def put(self, photo: Photo, finished: Finished) -> Outcome:
        """Keep a result. Safe in threads. Raises OSError."""

    def close(self, outcomes: Sequence[Outcome]) -> None:
        """The batch is through. Raises OSError."""


class Sink(Protocol):
    """Where results are kept."""

    @property
    def storage(self) -> Storage:
        """The folder they are in."""

    def writer(self, photos: Sequence[Photo]) -> BatchWriter:
        """For the results of these."""

    def kept(self, photos: Sequence[Photo]) -> set[str]:
        """Ids of those whose results are there. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Files:
    """A file for each photo, written as soon as it is made. `anew`: files that are there may be of an earlier job."""

    storage: Storage
    anew: bool = False

    def writer(self, photos: Sequence[Photo]) -> BatchWriter:
        """For the results of these."""
        return self

    def kept(self, photos: Sequence[Photo]) -> set[str]:
        """Ids of those whose files are there."""
        if self.anew:
            return set()
        there = self.storage.there([photo.target for photo in photos])
        return {photo.id for photo in photos if photo.target in there}

    def put(self, photo: Photo, finished: Finished) -> Outcome:
        """Write its file."""
        self.storage.write(photo.target, finished.data)
        return written(photo, finished)

    def close(self, outcomes: Sequence[Outcome]) -> None:
        """Nothing is left to do."""


@dataclass(frozen=True, slots=True)
class Parquet:
    """A Parquet file for each batch, with the columns of RESULTS; also those that failed, with their `error`."""

    storage: Storage

    def writer(self, photos: Sequence[Photo]) -> BatchWriter:
        """For the results of these."""
        return _Rows(self.storage, part_name(photos))

    def kept(self, photos: Sequence[Photo]) -> set[str]:
        """None: a batch that is not through has no file, or one that is written over by the same."""
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
        self.storage.write(self.name, packed(pa.Table.from_pylist(rows, RESULTS)))


def part_name(photos: Sequence[Photo]) -> str:
    """Of the file that holds the results of these photos."""
    ids = "\n".join(sorted(photo.id for photo in photos))
    return f"{PART_NAME}{hashlib.sha256(ids.encode()).hexdigest()[:32]}.parquet"


def packed(table: pa.Table) -> bytes:
    """A table as a Parquet file. Pictures are compressed already."""
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="none")
    return buffer.getvalue()
