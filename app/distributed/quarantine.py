"""What was in hand when a worker died, and how its batch is begun once more. Knows no pixels, and no Ray.

Ray gives the work of a dead worker to another one, again and again. A photo that kills its worker (a decoder that
crashes, memory that runs out) would kill them all. So each batch is noted before it begins. Who was in hand at a
death is tried alone from then on, and given up after ALONE_MAX times; its neighbours lose nothing but time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from app.distributed import records
from app.distributed.records import Outcome, Photo
from app.errors import ServiceError

ALONE_MAX: Final = 2

_log = logging.getLogger(__name__)


class AttemptLog(Protocol):
    """How workers reach the one `Quarantine` of a job and stage."""

    def together(self, ids: Sequence[str]) -> list[tuple[bool, Outcome | None]]:
        """As in `Quarantine`."""

    def alone(self, identity: str) -> bool:
        """As in `Quarantine`."""

    def survived(self, identity: str) -> None:
        """As in `Quarantine`."""

    def finish(self, made: Sequence[Outcome]) -> None:
        """As in `Quarantine`."""


class Quarantine:
    """In one place for all workers."""

    def __init__(self) -> None:
        self._begun: set[str] = set()
        self._alone: Counter[str] = Counter()
        self._finished: dict[str, Outcome] = {}

    def together(self, ids: Sequence[str]) -> list[tuple[bool, Outcome | None]]:
        """A batch begins. For each photo: whether it has been in hand before, and its outcome if it came to one."""
        known = [(each in self._begun, self._finished.get(each)) for each in ids]
        self._begun.update(ids)
        return known

    def alone(self, identity: str) -> bool:
        """A photo that was in hand before begins, with no other beside it. False: it has had its chances."""
        self._alone[identity] += 1
        return self._alone[identity] <= ALONE_MAX

    def survived(self, identity: str) -> None:
        """A photo did no harm alone. If it is begun once more, that is another's fault."""
        del self._alone[identity]

    def finish(self, made: Sequence[Outcome]) -> None:
        """A batch is through, and what came of it is kept."""
        self._finished.update((each.id, each) for each in made)


async def run_with_quarantine(
    book: AttemptLog,
    photos: Sequence[Photo],
    kept: Callable[[Sequence[Photo]], set[str]],
    do: Callable[[Photo], Awaitable[Outcome]],
    places: int,
) -> list[Outcome]:
    """Those of a batch that were never in hand before at once, at most `places` of them; the others one by one.

    What `do` raises is its photo's outcome. Raises OSError if `kept` does.
    """
    known = list(zip(photos, book.together([photo.id for photo in photos]), strict=True))
    made = [outcome for _photo, (_again, outcome) in known if outcome is not None]
    fresh = [photo for photo, (again, _outcome) in known if not again]
    again = [photo for photo, (again, outcome) in known if again and outcome is None]
    there = await asyncio.to_thread(kept, again) if again else set()
    room = asyncio.Semaphore(places)

    async def one(photo: Photo) -> Outcome:
        async with room:
            return await do(photo)

    results = await asyncio.gather(*map(one, fresh), return_exceptions=True)
    made += [_outcome(photo, result) for photo, result in zip(fresh, results, strict=True)]
    for photo in again:
        if photo.id in there:
            made.append(Outcome(photo.id))
        elif book.alone(photo.id):
            (result,) = await asyncio.gather(do(photo), return_exceptions=True)
            made.append(_outcome(photo, result))
            book.survived(photo.id)
        else:
            made.append(records.lost(photo))
    return made


def _outcome(photo: Photo, result: Outcome | BaseException) -> Outcome:
    if isinstance(result, Outcome):
        return result
    if not isinstance(result, ServiceError | OSError):
        _log.error("a photo met an error that nobody foresaw", exc_info=result)
    return records.failed(photo, result)
