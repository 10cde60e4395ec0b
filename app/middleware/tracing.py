"""Requests pass through, OpenTelemetry spans go out: one for each request, one for each stage of its way.

Optional: the SDK is the extra `otel`, imported inside functions; these run only where MATTE_OTLP_ENDPOINT is set.
W3C trace context is taken over from `traceparent` and `tracestate`, and answered as `traceresponse`. A span holds
names, numbers and the request's id: nothing of a photo, no address, no key.

    POST /v1/matte                       the whole, as `app.middleware` measures it
      read                               the body, as it comes
      budget decode queue infer          as `app.observability.timing` has them; gaps between them are waits
      refine compose encode              for a thread
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.middleware.request_context import route_template
from app.observability.logs import trace_id
from app.observability.timing import Stage, collect
from app.settings import SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked for every few seconds by machines: their spans would bury the others."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"})
_CONTEXT: Final = ("traceparent", "tracestate")
# To hand some hundred spans over: a collector that is gone must not hold up a shutdown.
_EXPORT_S: Final = 2.0


def connect(endpoint: str) -> TracerProvider:
    """Spans go to the OTLP receiver at `endpoint`, such as http://collector:4318. Raises SettingsError.

    What else there is to choose is read by the SDK from OpenTelemetry's own variables: OTEL_SERVICE_NAME,
    OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER(_ARG), OTEL_EXPORTER_OTLP_HEADERS.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise SettingsError(
            "MATTE_OTLP_ENDPOINT is set, but OpenTelemetry is not installed: pip install 'u2matte[otel]'"
        ) from None
    ours = Resource.create({"service.name": "u2matte", "service.version": version("u2matte")})
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


class TracingMiddleware:
    """The outermost layer: it begins a request's span before all else and ends it after all else."""

    def __init__(self, app: ASGIApp, *, provider: TracerProvider, routes: Sequence[BaseRoute]) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app = app
        self._provider = provider
        self._routes = routes
        self._tracer = provider.get_tracer("u2matte", version("u2matte"))
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._flushing(send))
        elif scope["type"] != "http" or scope["path"] in QUIET:
            await self._app(scope, receive, send)
        else:
            await self._traced(scope, receive, send)

    async def _traced(self, scope: Scope, receive: Receive, send: Send) -> None:
        from opentelemetry.trace import SpanKind, format_trace_id

        epoch_s = time.time() - time.perf_counter()
        began = time.perf_counter()
        headers, route = Headers(scope=scope), route_template(self._routes, scope)
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        given = {name: ",".join(headers.getlist(name)) for name in _CONTEXT if name in headers}
        span = self._tracer.start_span(
            f"{'HTTP' if method == '_OTHER' else method} {route}",
            self._propagator.extract(given),
            SpanKind.SERVER,
            {"http.request.method": method, "http.route": route},
            start_time=_nanoseconds(began + epoch_s),
        )
        passage = TracedExchange(receive, send, _traceresponse(span))
        token = trace_id.set(format_trace_id(span.get_span_context().trace_id))
        try:
            with collect() as stages:
                await self._app(scope, passage.receive, passage.send)
        finally:
            trace_id.reset(token)
            if span.is_recording():
                _tell(span, scope, passage)
                self._tell_stages(span, (*passage.read, *stages), epoch_s)
            span.end(_nanoseconds(time.perf_counter() + epoch_s))

    def _tell_stages(self, span: Span, stages: Iterable[Stage], epoch_s: float) -> None:
        """They are over, and were measured: their spans are made of the measured times."""
        from opentelemetry.trace import set_span_in_context

        inside = set_span_in_context(span)
        for stage in stages:
            child = self._tracer.start_span(
                stage.name, inside, start_time=_nanoseconds(stage.began + epoch_s)
            )
            if stage.pictures:
                child.set_attribute("matte.batch.size", stage.pictures)
            child.end(_nanoseconds(stage.ended + epoch_s))

    def _flushing(self, send: Send) -> Send:
        async def flush_first(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await asyncio.to_thread(self._provider.shutdown)
            await send(message)

        return flush_first


class TracedExchange:
    """One request's messages pass: when the body was read, how it was answered. Adds `traceresponse`."""

    def __init__(self, receive: Receive, send: Send, traceresponse: str) -> None:
        self._receive = receive
        self._send = send
        self._traceresponse = traceresponse
        self._began = 0.0
        self._complete = False
        self.read: list[Stage] = []
        self.status = 0
        self.request_id = ""

    async def receive(self) -> Message:
        self._began = self._began or time.perf_counter()
        message = await self._receive()
        if not self._complete and not message.get("more_body", False):
            self._complete = True
            self.read.append(Stage("read", self._began, time.perf_counter()))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            self.status = message["status"]
            self.request_id = headers.get("x-request-id", "")
            headers["traceresponse"] = self._traceresponse
        await self._send(message)


def _tell(span: Span, scope: Scope, passage: TracedExchange) -> None:
    """How the request ended."""
    from opentelemetry.trace import Status, StatusCode

    status = passage.status or 499
    span.set_attribute("http.response.status_code", status)
    span.set_attribute("matte.request_id", passage.request_id)
    if status >= 400:
        span.set_attribute("error.type", str(scope.get("error_code", status)))
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))


def _traceresponse(span: Span) -> str:
    """W3C Trace Context Level 2: who answered, for a client that began no trace of its own."""
    from opentelemetry.trace import format_span_id, format_trace_id

    context = span.get_span_context()
    return (
        f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-{context.trace_flags:02x}"
    )


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
