"""Quarantine photos that kill their worker: retry them one by one, and give them up in the end. Knows no pixels, and
no Ray.

Ray passes the work of a dead worker to another one, again and again. A photo that kills its worker (a decoder that
crashes, memory that runs out) would kill them all. So each batch is recorded before it starts. Photos that were in
process when a worker died are retried alone, at most LONE_TRIES_MAX times; the others of the batch only lose time.
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

LONE_TRIES_MAX: Final = 2

_log = logging.getLogger(__name__)


class AttemptLog(Protocol):
    """How workers reach the one `Quarantine` of a job and stage."""

    def start_batch(self, ids: Sequence[str]) -> list[tuple[bool, Outcome | None]]:
        """See `Quarantine`."""

    def start_alone(self, identity: str) -> bool:
        """See `Quarantine`."""

    def clear(self, identity: str) -> None:
        """See `Quarantine`."""

    def finish(self, made: Sequence[Outcome]) -> None:
        """See `Quarantine`."""


class Quarantine:
    """The record of all started and finished photos; one object for all workers."""

    def __init__(self) -> None:
        self._started: set[str] = set()
        self._lone_tries: Counter[str] = Counter()
        self._finished: dict[str, Outcome] = {}

    def start_batch(self, ids: Sequence[str]) -> list[tuple[bool, Outcome | None]]:
        """Record the start of a batch. Return for each photo whether it was started before, and its outcome if it has
        one."""
        seen = [(each in self._started, self._finished.get(each)) for each in ids]
        self._started.update(ids)
        return seen

    def start_alone(self, identity: str) -> bool:
        """Record that a photo is retried alone. Returns False if it has used up its tries."""
        self._lone_tries[identity] += 1
        return self._lone_tries[identity] <= LONE_TRIES_MAX

    def clear(self, identity: str) -> None:
        """A photo succeeded alone: forget its tries, since a later death is another photo's fault."""
        del self._lone_tries[identity]

    def finish(self, made: Sequence[Outcome]) -> None:
        """Record the outcomes of a batch whose results are written."""
        self._finished.update((each.id, each) for each in made)


async def run_with_quarantine(
    attempts: AttemptLog,
    photos: Sequence[Photo],
    find_results: Callable[[Sequence[Photo]], set[str]],
    do: Callable[[Photo], Awaitable[Outcome]],
    concurrency: int,
) -> list[Outcome]:
    """Run the photos of a batch: new ones at most `concurrency` at a time, those that were started before one by one.

    `find_results` gives the ids whose results exist already. An exception of `do` becomes its photo's outcome. Raises
    OSError if `find_results` does.
    """
    seen = list(zip(photos, attempts.start_batch([photo.id for photo in photos]), strict=True))
    made = [outcome for _photo, (_again, outcome) in seen if outcome is not None]
    new = [photo for photo, (again, _outcome) in seen if not again]
    again = [photo for photo, (again, outcome) in seen if again and outcome is None]
    written = await asyncio.to_thread(find_results, again) if again else set()
    semaphore = asyncio.Semaphore(concurrency)

    async def one(photo: Photo) -> Outcome:
        async with semaphore:
            return await do(photo)

    results = await asyncio.gather(*map(one, new), return_exceptions=True)
    made += [_outcome(photo, result) for photo, result in zip(new, results, strict=True)]
    for photo in again:
        if photo.id in written:
            made.append(Outcome(photo.id))
        elif attempts.start_alone(photo.id):
            (result,) = await asyncio.gather(do(photo), return_exceptions=True)
            made.append(_outcome(photo, result))
            attempts.clear(photo.id)
        else:
            made.append(records.lost(photo))
    return made


def _outcome(photo: Photo, result: Outcome | BaseException) -> Outcome:
    if isinstance(result, Outcome):
        return result
    if not isinstance(result, ServiceError | OSError):
        _log.error("an unexpected error failed a photo", exc_info=result)
    return records.failed(photo, result)
