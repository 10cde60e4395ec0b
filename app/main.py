"""Build the ASGI app from the settings: wiring and lifespan only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Route

from app.api import openapi, rembg, removebg, web
from app.api.routes import router
from app.errors import ServiceError
from app.inference.backends.base import LoadError, Predict
from app.inference.registry import ModelSource, Source, model_source
from app.inference.remote.front_end import InferenceProcesses
from app.inference.remote.link import Link
from app.middleware import tracing
from app.middleware.admission import GUARDED, AdmissionMiddleware
from app.middleware.auth import AuthMiddleware, is_keyed
from app.middleware.concurrency_limit import AdaptiveLimit, ConcurrencyLimiter
from app.middleware.error_responses import handle
from app.middleware.paths import PathMiddleware
from app.middleware.request_context import AccessLog, RequestContextMiddleware
from app.middleware.tracing import TracingMiddleware
from app.observability.gpu_metrics import watch_gpus
from app.observability.metrics import Metrics, watch_loop_lag
from app.pipeline import Pipeline, busy_photos
from app.security.api_keys import KeyRing, read_list
from app.security.rate_limit import RateLimiter
from app.settings import Settings
from model.contract import ContractError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Worker:
    """One of several processes behind one port: its number, and the sockets of the processes that run its models."""

    number: int
    inference: tuple[Path, ...]

    @property
    def rates_file(self) -> Path:
        """Where all workers count each client's photos: beside the sockets, in a folder of this user alone."""
        return self.inference[0].parent / "rates.sqlite"


def create_app(
    settings: Settings, predict: Predict | None = None, *, worker: Worker | None = None
) -> FastAPI:
    """The service as an ASGI app.

    The models in `settings.model_dir` are loaded in the background after the app has started; `/readyz` answers 200
    once they are. `predict`, uint8 `[N,64,64,3]` to float32 `[N,64,64]`, replaces them, for tests and trials. A
    `worker` finishes its start-up only when the models are loaded, so that no connection is accepted before. If
    loading fails, `app.state.load_failure` holds the error and `app.state.on_load_failure` is called. Raises
    KeysError if the file of keys is invalid.
    """
    keys = KeyRing(read_list(key.get_secret_value() for key in settings.api_keys), settings.api_keys_file)
    metrics = Metrics()
    pipeline = Pipeline(settings, metrics)
    local = model_source(settings, predict)
    remote = _inference(settings, worker, local, metrics) if worker else None
    app = _Service(
        title="u2matte",
        summary="Background removal for portraits: post a photo, get its alpha matte or the person cut out.",
        version="1",
        openapi_url=None,  # app.api.web serves it.
        docs_url=None,  # FastAPI's page loads files from another site.
        redoc_url=None,
        redirect_slashes=False,  # app.middleware.paths accepts both.
        # FastAPI's telemetry would trace each request a second time, and export by variables of its own.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        lifespan=partial(_lifespan, source=remote or local),
        exception_handlers={
            ServiceError: handle,
            HTTPException: handle,
            RequestValidationError: handle,
        },
    )
    pages = [web.page_router] if settings.ui else []
    routers = [*pages, web.docs_router, router, removebg.router, rembg.router]
    for each in routers:
        app.include_router(each)
        _add_head_routes(app, each.routes)
    app.state.settings = settings
    app.state.keys = keys
    app.state.metrics = metrics
    app.state.pipeline = pipeline
    app.state.inference = remote
    app.state.rate_limiter = RateLimiter(worker.rates_file if worker else None)
    app.state.own_port = settings.worker_port + worker.number if worker and settings.worker_port else None
    app.state.load_failure = None
    app.state.on_load_failure = lambda: None
    _add_middleware(app, routes=(*(route for each in routers for route in each.routes), *app.routes))
    return app


def _add_head_routes(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Answer HEAD wherever GET is answered (RFC 9110 §9.1): monitors use it. The server omits the body."""
    for route in routes:
        if isinstance(route, Route) and route.methods == {"GET"}:
            app.add_api_route(route.path, route.endpoint, methods=["HEAD"], include_in_schema=False)


def _add_middleware(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Add the layers in the order of `app.middleware.request_context`. The one added last is the outermost."""
    state = app.state
    settings, metrics = state.settings, state.metrics
    metrics.watch_ready(state.pipeline.check_ready)
    least = busy_photos(settings, on_gpu=settings.device != "cpu")
    adaptive_limit = AdaptiveLimit(settings.max_queue, least, settings.overload_wait_ms / 1000)
    metrics.inflight_limit.set_function(lambda: adaptive_limit.current)
    check_ready = state.pipeline.check_ready
    limiter = ConcurrencyLimiter(adaptive_limit, settings.request_timeout_ms)
    access_log = AccessLog(metrics, routes)
    app.add_middleware(
        AdmissionMiddleware,
        settings=settings,
        metrics=metrics,
        check_ready=check_ready,
        adaptive_limit=adaptive_limit,
        limiter=limiter,
    )
    app.add_middleware(
        AuthMiddleware,
        settings=settings,
        keys=state.keys,
        metrics=metrics,
        limited=GUARDED,
        rate_limiter=state.rate_limiter,
    )
    app.add_middleware(RequestContextMiddleware, access_log=access_log)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=CORS_METHODS,
            allow_headers=CORS_REQUEST_HEADERS,
            expose_headers=CORS_RESPONSE_HEADERS,
        )
    if settings.otlp_endpoint:
        app.add_middleware(TracingMiddleware, provider=tracing.connect(settings.otlp_endpoint), routes=routes)
    app.add_middleware(PathMiddleware, routes=routes, root_path=settings.root_path)


def _inference(settings: Settings, worker: Worker, local: Source, metrics: Metrics) -> InferenceProcesses:
    name, page = str(worker.number), partial(generate_latest, metrics.registry)
    stuck_after_s = settings.stuck_after_ms / 1000
    links = [Link(path, name, stuck_after_s, page) for path in worker.inference]
    return InferenceProcesses(local.scan, name, links)


class _Service(FastAPI):
    """FastAPI, with an OpenAPI document that says how keys are sent."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            keyed = partial(is_keyed, protect=self.state.settings.protect)
            optional = not self.state.keys.needed
            self.openapi_schema = openapi.with_keys(super().openapi(), keyed=keyed, optional=optional)
        return self.openapi_schema


@asynccontextmanager
async def _lifespan(app: FastAPI, *, source: ModelSource) -> AsyncIterator[None]:
    pipeline: Pipeline = app.state.pipeline
    inference: InferenceProcesses | None = app.state.inference
    if inference:
        inference.start()
    loading = asyncio.create_task(pipeline.start(source), name="load")
    loading.add_done_callback(partial(_on_loaded, app))
    app.state.loading = loading
    while inference and not loading.done() and not pipeline.draining:
        await asyncio.wait({loading}, timeout=START_CHECK_S)
    metrics: Metrics = app.state.metrics
    try:
        with nullcontext() if inference else watch_gpus(metrics.registry):
            async with watch_loop_lag(metrics.loop_lag_seconds.observe):
                yield
    finally:
        loading.cancel()
        await pipeline.close()
        if inference:
            await inference.close()


def _on_loaded(app: FastAPI, loading: asyncio.Task[None]) -> None:
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


START_CHECK_S: Final = 0.2
CORS_METHODS: Final = ("GET", "HEAD", "POST")
CORS_REQUEST_HEADERS: Final = ("Authorization", "X-Api-Key", "X-Request-Id")
CORS_RESPONSE_HEADERS: Final = (
    "Retry-After",
    "Server-Timing",
    "X-Credits-Charged",
    "X-Foreground",
    "X-Foreground-Height",
    "X-Foreground-Left",
    "X-Foreground-Top",
    "X-Foreground-Width",
    "X-Frames",
    "X-Height",
    "X-Matte-Confidence",
    "X-Model",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-Request-Id",
    "X-Subjects",
    "X-Type",
    "X-Width",
)
