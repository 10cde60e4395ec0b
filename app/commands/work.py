"""What `photos` asks of whoever does the photos, and the two ways in which that fails. Knows neither of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class PhotoFailed(Exception):  # noqa: N818 - said of one photo; the others go on
    """One photo could not be done. `code` says why to programs, the service's own where it has one."""

    def __init__(self, detail: str, code: str) -> None:
        super().__init__(detail)
        self.code = code


class WorkEnds(Exception):  # noqa: N818 - said of all photos
    """No photo can be done, and there is no use in trying the others."""


@dataclass(frozen=True, slots=True)
class Done:
    """A finished file, and whether anybody is in the photo."""

    data: bytes
    foreground: bool


class Worker(Protocol):
    """`model`, then `start` if there is anything to do, `work` for each photo, `close` in any case."""

    @property
    def places(self) -> int:
        """How many photos are worth having in hand at once."""

    async def model(self) -> str:
        """Who will do the photos: the same name, the same results. Raises WorkEnds."""

    async def start(self) -> None:
        """Get ready for photos. Raises WorkEnds."""

    async def work(self, data: bytes) -> Done:
        """One photo. Raises PhotoFailed or WorkEnds."""

    async def close(self) -> None:
        """Let everything go."""
