"""Photos are sent to a running service, a few at once. Knows no file, and no pixels."""

from __future__ import annotations

import math
from time import monotonic
from typing import Final

from rich.console import Console
from rich.text import Text

from app.client import Answer, AsyncClient, CallError, Disconnected, Patience
from app.commands.wish import Wish
from app.commands.work import Done, PhotoFailed, WorkEnds

# A service that is restarted or busy for a while is waited for: nobody sits beside a thousand photos.
PATIENCE: Final = Patience(attempts=1_000, deadline_s=300)
_TELL_EVERY_S: Final = 60
_FULL: Final = 429
_NO_ANSWER: Final = "no_answer"
# Key, address and options are the same for all photos: what is wrong with them for one is wrong for all.
_WRONG_FOR_ALL: Final = frozenset({401, 403, 404, 405, 422})


class RemoteWorker:
    """The service at `url`, with at most `places` photos at once. Raises WorkEnds for what can be no address."""

    def __init__(self, url: str, wish: Wish, console: Console, *, places: int, api_key: str | None) -> None:
        self._wish = wish
        self._console = console
        self._told_at = -math.inf
        self.places = places
        try:
            self._client = AsyncClient(
                url, api_key=api_key, connections=places, patience=PATIENCE, on_retry=self._on_retry
            )
        except ValueError as error:
            raise WorkEnds(str(error)) from None

    async def model(self) -> str:
        """Asked of the service, so that a wrong address or key is known before any photo is sent."""
        try:
            await self._client.ready()  # Asks once: nobody waits for an address that does not exist.
            models = await self._client.models()
        except CallError as error:
            raise WorkEnds(_said(error)) from None
        return " ".join(f"{model.name}@{model.version} {model.sha256}" for model in models)

    async def start(self) -> None:
        """The service has started long since."""

    async def work(self, data: bytes) -> Done:
        try:
            answer = await self._ask(data)
        except CallError as error:
            gone = isinstance(error, Disconnected) and error.again
            if gone or error.status in _WRONG_FOR_ALL:
                raise WorkEnds(_said(error)) from None
            raise PhotoFailed(_said(error), error.code or _NO_ANSWER) from None
        return Done(answer.data, answer.foreground)

    async def _ask(self, data: bytes) -> Answer:
        wish = self._wish
        if wish.output == "matte":
            return await self._client.matte(data, quality=wish.quality)
        return await self._client.cutout(
            data,
            format=wish.format,
            background=wish.background,
            blur=wish.blur,
            crop=wish.crop,
            margin=wish.margin,
            size=wish.size,
            shadow=wish.shadow,
            quality=wish.quality,
        )

    def _on_retry(self, problem: CallError, _pause_s: float) -> None:
        """One line now and then. To be asked to come back later (429) is no outage, and nothing to tell of."""
        if problem.status == _FULL or monotonic() - self._told_at < _TELL_EVERY_S:
            return
        self._told_at = monotonic()
        limit = f"trying again for {PATIENCE.deadline_s:.0f} s at most"
        self._console.print(Text(f"{_said(problem)} … {limit}"), soft_wrap=True)

    async def close(self) -> None:
        await self._client.aclose()


def _said(error: CallError) -> str:
    if error.status in (404, 405):
        return f"no u2matte of this version answers there: {error.detail} ({error.status})"
    if error.status == 401:
        return f"{error.detail} Here they come from --api-key or U2MATTE_API_KEY."
    return f"{error.detail} ({error.status})" if error.status else error.detail
