"""One photo of a bulk job, and what became of it; rows of Arrow tables from and to both. Knows no pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import pyarrow as pa

from app.errors import ServiceError
from app.pipeline import Finished

WORKER_LOST: Final = "worker_lost"
"""A photo's code after it was in hand each time that its worker died."""
INTERNAL: Final = "internal"

PHOTOS: Final = pa.schema([("id", pa.string()), ("target", pa.string()), ("data", pa.binary())])
GROUPS: Final = pa.schema([("file", pa.string()), ("number", pa.int32())])
"""Row groups of Parquet, where photos are in rows."""


@dataclass(frozen=True, slots=True)
class Photo:
    """`id`: its name below the source, or its row's. `target`: the file to write below the destination, "" where
    there are no files. `data`: its bytes, where the source has them in rows; else they are read by its name."""

    id: str
    target: str
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """`code` "" for a result that is written, else why there is none, with `detail` for people.

    `height` and `width` of the result; `foreground`: whether anybody is in the photo.
    """

    id: str
    code: str = ""
    detail: str = ""
    foreground: bool = True
    height: int = 0
    width: int = 0
    confidence: float = 0.0


OUTCOMES: Final = pa.schema(
    [
        ("id", pa.string()),
        ("code", pa.string()),
        ("detail", pa.string()),
        ("foreground", pa.bool_()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("confidence", pa.float64()),
    ]
)


def written(photo: Photo, finished: Finished) -> Outcome:
    """Of a photo whose result is kept."""
    return Outcome(
        photo.id,
        foreground=finished.foreground,
        height=finished.height,
        width=finished.width,
        confidence=finished.confidence,
    )


def failed(photo: Photo, error: BaseException) -> Outcome:
    """Of a photo that could not be done. An error that nobody foresaw is its own photo's alone."""
    if isinstance(error, ServiceError):
        return Outcome(photo.id, error.code, error.detail)
    if isinstance(error, OSError):
        return Outcome(photo.id, "storage", str(error))
    return Outcome(photo.id, INTERNAL, f"{type(error).__name__}: {error}")


def lost(photo: Photo) -> Outcome:
    """Of a photo that no worker survives."""
    return Outcome(photo.id, WORKER_LOST, "Its worker died each time, the last times with this photo alone.")


def photos_of(table: pa.Table) -> list[Photo]:
    """From rows as `PHOTOS` has them."""
    return [Photo(**row) for row in table.select(PHOTOS.names).to_pylist()]


def photo_table(photos: Sequence[Photo]) -> pa.Table:
    """To rows as `PHOTOS` has them."""
    return _table(photos, PHOTOS)


def outcomes_of(table: pa.Table) -> list[Outcome]:
    """From rows as `OUTCOMES` has them."""
    return [Outcome(**row) for row in table.to_pylist()]


def outcome_table(outcomes: Sequence[Outcome]) -> pa.Table:
    """To rows as `OUTCOMES` has them."""
    return _table(outcomes, OUTCOMES)


def _table(rows: Sequence[Any], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([asdict(row) for row in rows], schema)
