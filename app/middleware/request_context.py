"""Give each request its id; write its access log line and metrics; answer exceptions that no other layer caught.

The layers around the routes, outermost first, all on raw ASGI messages:

    PathMiddleware             rewrites the path to that of a route
    TracingMiddleware          a span for the request and each stage, if traces are exported
    CORSMiddleware             for the websites that the operator names, if any; answers preflights
    RequestContextMiddleware   request id, access log, metrics, security headers, last handler of exceptions
    AuthMiddleware             API keys, the client's name, its rate limit
    AdmissionMiddleware        for routes that take photos: readiness, slots, byte limit, deadlines

Knows no pixels, no forms and no models.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from typing import Final

from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import ServiceError
from app.middleware.auth import KEY_NAME
from app.middleware.error_responses import to_response
from app.middleware.response_headers import MeasuredExchange
from app.observability.logs import new_id, request_id
from app.observability.metrics import Metrics

_SANE_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_log = logging.getLogger("app.access")


def id_of(scope: Scope) -> str:
    """The request's X-Request-Id if it is well-formed, or else a new id."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _SANE_ID.fullmatch(given) else new_id()


class RequestContextMiddleware:
    """Give each request its id, and record in log and metrics how it ended."""

    def __init__(self, app: ASGIApp, *, access_log: AccessLog) -> None:
        self._app = app
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        token = request_id.set(id_of(scope))
        exchange = MeasuredExchange(scope, receive, send)
        started = time.perf_counter()
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:  # The last handler: no request ends without an answer.
            if not isinstance(error, ServiceError):
                _log.exception("unexpected error")
            if not exchange.status:
                await to_response(error)(scope, exchange.receive, exchange.send)
        finally:
            seconds = time.perf_counter() - started
            sizes = {"bytes_in": exchange.bytes_in, "bytes_out": exchange.bytes_out}
            self._access_log.add(scope, exchange.status, seconds, **sizes)
            request_id.reset(token)


UNMATCHED: Final = "unmatched"
CLIENT_CLOSED_REQUEST: Final = 499  # for log and metrics: the client closed the connection unanswered


class AccessLog:
    """Write the access log and the request metrics of one app."""

    def __init__(self, metrics: Metrics, routes: Sequence[BaseRoute]) -> None:
        self._metrics = metrics
        self._routes = routes
        self._plain = {path for route in routes if "{" not in (path := getattr(route, "path", "{"))}

    def add(self, scope: Scope, status: int, seconds: float, *, bytes_in: int = 0, bytes_out: int) -> None:
        """Record a request. `status` 0: no answer was sent. The error's code, if there is one, is in the scope."""
        path = scope["path"]
        route = path if path in self._plain else route_template(self._routes, scope)
        self._metrics.requests.labels(route, str(status or CLIENT_CLOSED_REQUEST)).inc()
        route_metrics = self._metrics.for_route(route)
        route_metrics.seconds.observe(seconds)
        route_metrics.received_bytes.inc(bytes_in)
        route_metrics.sent_bytes.inc(bytes_out)
        optional = {}
        if code := scope.get("error_code"):
            self._metrics.errors.labels(code).inc()
            optional["error"] = code
        if name := scope.get(KEY_NAME):
            optional["client"] = name
        _log.info(
            "request",
            extra={
                "method": scope["method"],
                "route": route,
                "status": status or CLIENT_CLOSED_REQUEST,
                "ms": round(seconds * 1000, 1),
                "bytes_in": bytes_in,
                "bytes_out": bytes_out,
                **optional,
            },
        )


def route_template(routes: Sequence[BaseRoute], scope: Scope) -> str:
    """The path of the route that serves this request, or "unmatched": never a path that the client chose."""
    for route in routes:
        if route.matches(scope)[0] is not Match.NONE:
            return getattr(route, "path", UNMATCHED)
    return UNMATCHED
