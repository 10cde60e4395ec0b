"""Who does a photo for the command line: this process's own model, or a running service. Knows no file."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Final, Protocol, cast

from rich.console import Console
from rich.text import Text

from app.cli.photo_options import PhotoOptions
from app.client import Answer, AsyncClient, CallError, CutoutOptions, Disconnected, MatteOptions, RetryPolicy
from app.errors import ServiceError
from app.imaging.output import Channels, Output
from app.inference.backends.base import LoadError
from app.inference.registry import model_source, single_model
from app.inference.repository import ModelVersion, default_of, scan
from app.observability.logs import configure_logs
from app.observability.metrics import Metrics
from app.pipeline import Pipeline, busy_photos
from app.settings import SettingsError, load_settings
from model.contract import ContractError


class PhotoFailed(Exception):  # noqa: N818 - said of one photo; the others go on
    """One photo could not be done. `code` says why to programs, the service's own where it has one."""

    def __init__(self, detail: str, code: str) -> None:
        super().__init__(detail)
        self.code = code


class ProcessingStopped(Exception):  # noqa: N818 - said of all photos
    """No photo can be done, and there is no use in trying the others."""


@dataclass(frozen=True, slots=True)
class Done:
    """A finished file, and whether anybody is in the photo."""

    data: bytes
    foreground: bool


class Processor(Protocol):
    """`model`, then `start` if there is anything to do, `work` for each photo, `close` in any case."""

    @property
    def concurrency(self) -> int:
        """How many photos are worth having in hand at once."""

    async def model(self) -> str:
        """Who will do the photos: the same name, the same results. Raises ProcessingStopped."""

    async def start(self) -> None:
        """Get ready for photos. Raises ProcessingStopped."""

    async def work(self, data: bytes) -> Done:
        """One photo. Raises PhotoFailed or ProcessingStopped."""

    async def close(self) -> None:
        """Let everything go."""


async def local_work(pipeline: Pipeline, data: bytes, output: Output) -> Done:
    """One photo through the service's own pipeline. Raises ServiceErrors."""
    result = await pipeline.run(data, output)
    return Done(result.finished.data, result.finished.foreground)


def output_of(options: PhotoOptions) -> Output:
    """The same as a client's, so that both mean the same."""
    if options.output == "matte":
        return Output.model_validate({**options.of_matte, "channels": Channels.ALPHA})
    return Output.model_validate(options.given)


class LocalModel:
    """The model of this process, and the pipeline that runs it. Raises ProcessingStopped for wrong settings."""

    def __init__(self, console: Console) -> None:
        configure_logs("error", sys.stderr)
        try:
            self.settings = load_settings()
        except SettingsError as error:
            raise ProcessingStopped(str(error)) from None
        self.pipeline = Pipeline(self.settings, Metrics())
        self._console = console

    def stored(self) -> ModelVersion:
        """Its files, of which none but the manifest is read. Raises ProcessingStopped."""
        try:
            return default_of(scan(self.settings.model_dir), self.settings.default_model)
        except ContractError as error:
            raise ProcessingStopped(str(error)) from None

    async def start(self) -> None:
        """Load it. Raises ProcessingStopped."""
        self._console.print(f"loading {self.settings.model_dir.name} …")
        try:
            stored = self.stored()
            load = partial(model_source(self.settings).load, stored)
            await self.pipeline.start(single_model(stored.manifest, load))
        except (ContractError, LoadError) as error:
            raise ProcessingStopped(str(error)) from None


class LocalProcessor:
    """Process photos in this process. Raises ProcessingStopped for wrong settings."""

    def __init__(self, options: PhotoOptions, console: Console) -> None:
        self._local = LocalModel(console)
        self._output = output_of(options)

    @property
    def concurrency(self) -> int:
        """Enough photos to fill the batches while others are decoded, and no more."""
        # Whether there is a GPU shows when the model is loaded.
        return busy_photos(self._local.settings, on_gpu=True)

    async def model(self) -> str:
        """By its manifest alone, so that nothing is loaded where nothing is to be done."""
        manifest = self._local.stored().manifest
        return f"{manifest.label} {manifest.sha256}"

    async def start(self) -> None:
        await self._local.start()

    async def work(self, data: bytes) -> Done:
        try:
            return await local_work(self._local.pipeline, data, self._output)
        except ServiceError as error:
            raise PhotoFailed(error.detail, error.code) from None

    async def close(self) -> None:
        await self._local.pipeline.close()


# A service that is restarted or busy for a while is waited for: nobody sits beside a thousand photos.
RETRIES: Final = RetryPolicy(attempts=1_000, deadline_s=300)
_TELL_EVERY_S: Final = 60
_FULL: Final = 429
_NO_ANSWER: Final = "no_answer"
# Key, address and options are the same for all photos: what is wrong with them for one is wrong for all.
_WRONG_FOR_ALL: Final = frozenset({401, 403, 404, 405, 422})


class RemoteProcessor:
    """Send photos to the service at `url`, at most `concurrency` at once. Raises
    ProcessingStopped for a bad address."""

    def __init__(
        self, url: str, options: PhotoOptions, console: Console, *, concurrency: int, api_key: str | None
    ) -> None:
        self._options = options
        self._console = console
        self._told_at = -math.inf
        self.concurrency = concurrency
        try:
            self._client = AsyncClient(
                url, api_key=api_key, connections=concurrency, retry=RETRIES, on_retry=self._on_retry
            )
        except ValueError as error:
            raise ProcessingStopped(str(error)) from None

    async def model(self) -> str:
        """Asked of the service, so that a wrong address or key is known before any photo is sent."""
        try:
            await self._client.ready()  # Asks once: nobody waits for an address that does not exist.
            models = await self._client.models()
        except CallError as error:
            raise ProcessingStopped(_said(error)) from None
        return " ".join(f"{model.name}@{model.version} {model.sha256}" for model in models)

    async def start(self) -> None:
        """The service has started long since."""

    async def work(self, data: bytes) -> Done:
        try:
            answer = await self._ask(data)
        except CallError as error:
            gone = isinstance(error, Disconnected) and error.again
            if gone or error.status in _WRONG_FOR_ALL:
                raise ProcessingStopped(_said(error)) from None
            raise PhotoFailed(_said(error), error.code or _NO_ANSWER) from None
        return Done(answer.data, answer.foreground)

    async def _ask(self, data: bytes) -> Answer:
        options = self._options
        if options.output == "matte":
            return await self._client.matte(data, **cast(MatteOptions, options.of_matte))
        return await self._client.cutout(data, **cast(CutoutOptions, options.given))

    def _on_retry(self, problem: CallError, _pause_s: float) -> None:
        """One line now and then. To be asked to come back later (429) is no outage, and nothing to tell of."""
        if problem.status == _FULL or monotonic() - self._told_at < _TELL_EVERY_S:
            return
        self._told_at = monotonic()
        limit = f"trying again for {RETRIES.deadline_s:.0f} s at most"
        self._console.print(Text(f"{_said(problem)} … {limit}"), soft_wrap=True)

    async def close(self) -> None:
        await self._client.aclose()


def _said(error: CallError) -> str:
    if error.status in (404, 405):
        return f"no u2matte of this version answers there: {error.detail} ({error.status})"
    if error.status == 401:
        return f"{error.detail} Here they come from --api-key or U2MATTE_API_KEY."
    return f"{error.detail} ({error.status})" if error.status else error.detail
