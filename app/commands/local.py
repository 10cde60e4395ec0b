"""Photos are done in this process, by the model that the environment names. Knows no file."""

from __future__ import annotations

import sys
from functools import partial

from rich.console import Console

from app.commands.wish import Wish
from app.commands.work import Done, PhotoFailed, WorkEnds
from app.errors import ServiceError
from app.logs import configure_logs
from app.metrics import Metrics
from app.network.running import LoadError
from app.options import read_output
from app.output import MATTE, Output
from app.pipeline import Pipeline, busy_photos
from app.serving.source import model_source, only
from app.serving.store import Stored, default_of, look
from app.settings import SettingsError, load_settings
from model.contract import ContractError
from model.matting import Quality


async def local_work(pipeline: Pipeline, data: bytes, wish: Wish) -> Done:
    """One photo through the service's own pipeline. Raises ServiceErrors."""
    result = await pipeline.run(data, output_of(wish), Quality(wish.quality))
    return Done(result.finished.data, result.finished.foreground)


def output_of(wish: Wish) -> Output:
    """The same options as a client's, so that both mean the same. Raises ClientErrors."""
    if wish.output == "matte":
        return MATTE
    given = {
        "format": wish.format,
        "background": wish.background if isinstance(wish.background, str) else None,
        "blur": wish.blur,
        "crop": str(wish.crop).lower() if wish.crop else None,
        "margin": wish.margin,
        "size": wish.size,
        "shadow": wish.shadow,
    }
    picture = wish.background if isinstance(wish.background, bytes) else None
    return read_output({name: str(value) for name, value in given.items() if value is not None}, picture)


class LocalWorker:
    """The pipeline of this process. Raises WorkEnds for settings that are wrong, or options that it does not know."""

    def __init__(self, wish: Wish, console: Console) -> None:
        configure_logs("error", sys.stderr)
        try:
            self._settings = load_settings()
        except SettingsError as error:
            raise WorkEnds(str(error)) from None
        try:
            output_of(wish)
        except ServiceError as error:
            raise WorkEnds(error.detail) from None
        self._wish = wish
        self._console = console
        self._pipeline = Pipeline(self._settings, Metrics())

    @property
    def places(self) -> int:
        """Enough photos to fill the batches while others are decoded, and no more."""
        # Whether there is a GPU shows when the model is loaded.
        return busy_photos(self._settings, on_gpu=True)

    async def model(self) -> str:
        """By its manifest alone, so that nothing is loaded where nothing is to be done."""
        manifest = self._stored().manifest
        return f"{manifest.label} {manifest.sha256}"

    async def start(self) -> None:
        self._console.print(f"loading {self._settings.model_dir.name} …")
        try:
            stored = self._stored()
            load = partial(model_source(self._settings).load, stored)
            await self._pipeline.start(only(stored.manifest, load))
        except (ContractError, LoadError) as error:
            raise WorkEnds(str(error)) from None

    def _stored(self) -> Stored:
        try:
            return default_of(look(self._settings.model_dir), self._settings.default_model)
        except ContractError as error:
            raise WorkEnds(str(error)) from None

    async def work(self, data: bytes) -> Done:
        try:
            return await local_work(self._pipeline, data, self._wish)
        except ServiceError as error:
            raise PhotoFailed(
                error.detail, error.code
            ) from None  # What is wrong with the options was said at the start.

    async def close(self) -> None:
        await self._pipeline.close()
