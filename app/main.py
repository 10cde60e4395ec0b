"""Settings come in, an ASGI app goes out, and a server that knows when to stop. Wiring and lifespan only."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app import predictor, site
from app.adapters import rembg, removebg
from app.admission import Admission
from app.errors import ServiceError, handle
from app.metrics import Metrics
from app.middleware import Observation
from app.network.session import LoadError, Predict
from app.pipeline import Pipeline
from app.predictor import Predictor
from app.routes import router
from app.settings import Settings
from model.contract import ContractError, Manifest

STAND_IN: Final = Manifest("stand-in", "0", input_size=64, geometry="stretch", files={})
"""Who the X-Model header names when a function takes the network's place."""

_log = logging.getLogger(__name__)


def create_app(settings: Settings, predict: Predict | None = None) -> FastAPI:
    """The service as an ASGI app.

    The model of `settings.model_dir` is loaded in the background when the app starts; `/readyz` turns green
    after it. `predict`, uint8 `[N,64,64,3]` to float32 `[N,64,64]`, takes its place, for tests and trials.
    When loading fails, `app.state.load_failure` holds the error and `app.state.on_load_failure` is called.
    """
    metrics = Metrics()
    pipeline = Pipeline(settings, metrics)
    app = FastAPI(
        title="u2matte",
        summary="Background removal for portraits: post a photo, get its alpha matte or the person cut out.",
        version="1",
        docs_url=None,  # Its own is a page that loads from elsewhere.
        redoc_url=None,
        lifespan=partial(_lifespan, load=model_loader(settings, predict)),
        exception_handlers={
            ServiceError: handle,
            HTTPException: handle,
            RequestValidationError: handle,
        },
    )
    pages = [site.page_router] if settings.ui else []
    routers = [*pages, site.docs_router, router, removebg.router, rembg.router]
    for each in routers:
        app.include_router(each)
    app.state.settings = settings
    app.state.metrics = metrics
    app.state.pipeline = pipeline
    app.state.load_failure = None
    app.state.on_load_failure = lambda: None
    # The one added last is the outermost.
    app.add_middleware(Admission, settings=settings, metrics=metrics, check_ready=pipeline.check_ready)
    app.add_middleware(
        Observation,
        metrics=metrics,
        routes=(*(route for each in routers for route in each.routes), *app.routes),
    )
    return app


class Server(uvicorn.Server):
    """uvicorn, turning red before it stops, and leaving with 0 after a signal whose work is done.

    When it has shut down, uvicorn raises a caught signal once more for the handlers that were there before it.
    They are ours, so that this ends in nothing instead of in status 143.
    """

    def __init__(self, config: uvicorn.Config, pipeline: Pipeline) -> None:
        super().__init__(config)
        self._pipeline = pipeline
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: self.stop())

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by uvicorn for SIGINT and SIGTERM."""
        self._pipeline.drain()
        super().handle_exit(sig, frame)

    def stop(self) -> None:
        """Take no more requests, finish those inside, and return from `run`."""
        self._pipeline.drain()
        self.should_exit = True


def model_loader(settings: Settings, predict: Predict | None = None) -> Callable[[], Predictor]:
    """What loads the model that the settings name, or puts `predict` in its place."""
    if predict is not None:
        sizes = predictor.batch_sizes_up_to(settings.max_batch_size or predictor.LARGEST_ON_CPU)
        return partial(Predictor, STAND_IN, "none", "float32", sizes, predict)
    return partial(
        predictor.load,
        settings.model_dir,
        device=settings.device,
        precision=settings.precision,
        max_batch_size=settings.max_batch_size,
        lanes=settings.lanes,
        cores=settings.core_count,
    )


@asynccontextmanager
async def _lifespan(app: FastAPI, *, load: Callable[[], Predictor]) -> AsyncIterator[None]:
    pipeline: Pipeline = app.state.pipeline
    loading = asyncio.create_task(pipeline.start(load), name="load")
    loading.add_done_callback(partial(_loaded, app))
    app.state.loading = loading
    try:
        yield
    finally:
        loading.cancel()
        await pipeline.close()


def _loaded(app: FastAPI, loading: asyncio.Task[None]) -> None:
    if loading.cancelled():
        return
    error = loading.exception()
    if error is None:
        _log.info("ready")
        return
    expected = isinstance(error, ContractError | LoadError)
    _log.critical("the model cannot be served: %s", error, exc_info=None if expected else error)
    app.state.load_failure = error
    app.state.on_load_failure()
