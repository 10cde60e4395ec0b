"""The photos of a bulk job and their outcomes, as rows of Arrow tables. Knows no pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import pyarrow as pa

from app.errors import ServiceError
from app.pipeline import Finished

WORKER_LOST: Final = "worker_lost"
"""The code of a photo that was in process each time its worker died."""
INTERNAL: Final = "internal"

PHOTOS: Final = pa.schema([("id", pa.string()), ("target", pa.string()), ("data", pa.binary())])
GROUPS: Final = pa.schema([("file", pa.string()), ("number", pa.int32())])
"""Row groups of Parquet files, if photos are in rows."""


@dataclass(frozen=True, slots=True)
class Photo:
    """`id`: its name below the source, or its row's id. `target`: the file to write below the destination, "" if
    results are rows. `data`: its bytes, if the source has them in rows; otherwise it is read by its name."""

    id: str
    target: str
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """`code`: "" for a written result, else why there is none, with `detail` for people.

    `height` and `width` of the result; `foreground`: whether a person was found in the photo.
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
    """The outcome of a photo whose result is written."""
    return Outcome(
        photo.id,
        foreground=finished.foreground,
        height=finished.height,
        width=finished.width,
        confidence=finished.confidence,
    )


def failed(photo: Photo, error: BaseException) -> Outcome:
    """The outcome of a photo that failed. An unexpected error fails only its own photo."""
    if isinstance(error, ServiceError):
        return Outcome(photo.id, error.code, error.detail)
    if isinstance(error, OSError):
        return Outcome(photo.id, "storage", str(error))
    return Outcome(photo.id, INTERNAL, f"{type(error).__name__}: {error}")


def lost(photo: Photo) -> Outcome:
    """The outcome of a photo that kills its workers."""
    return Outcome(photo.id, WORKER_LOST, "Its worker died each time, the last times with this photo alone.")


def photos_of(table: pa.Table) -> list[Photo]:
    """Read rows with the schema PHOTOS."""
    return [Photo(**row) for row in table.select(PHOTOS.names).to_pylist()]


def photo_table(photos: Sequence[Photo]) -> pa.Table:
    """Make rows with the schema PHOTOS."""
    return _table(photos, PHOTOS)


def outcomes_of(table: pa.Table) -> list[Outcome]:
    """Read rows with the schema OUTCOMES."""
    return [Outcome(**row) for row in table.to_pylist()]


def outcome_table(outcomes: Sequence[Outcome]) -> pa.Table:
    """Make rows with the schema OUTCOMES."""
    return _table(outcomes, OUTCOMES)


def _table(rows: Sequence[Any], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([asdict(row) for row in rows], schema)
