"""What every request meets first: it gets its id, and log and metrics are told how it ended.

The layers around the routes, from the outside, all of raw ASGI messages:

    (Tracing)       (app.tracing) a span for the request and each stage, if an endpoint for traces is set
    (CORS)          for the websites that the operator names, if any; answers their preflights
      Observation   request id, access log, metrics, strict headers, the last resort for exceptions
        Access      (app.access) keys, who asks, each client's rate
          Admission (app.admission) for the routes that take photos readiness, capacity, byte cap, deadlines

Knows no pixels, no form and no model.
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

from app.access import KEY_NAME
from app.errors import ServiceError
from app.exchange import Exchange
from app.logs import new_id, request_id
from app.metrics import Metrics
from app.problems import to_response

UNMATCHED: Final = "unmatched"

_SANE_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_log = logging.getLogger("app.access")


class Observation:
    """Gives each request its id, and tells the log and the metrics how it ended."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes
        self._plain = {path for route in routes if "{" not in (path := getattr(route, "path", "{"))}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        token = request_id.set(given if _SANE_ID.fullmatch(given) else new_id())
        exchange = Exchange(scope, receive, send)
        started = time.perf_counter()
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:  # The last resort: no request ends without an answer.
            if not isinstance(error, ServiceError):
                _log.exception("unexpected error")
            if not exchange.status:
                await to_response(error)(scope, exchange.receive, exchange.send)
        finally:
            self._record(scope, exchange, time.perf_counter() - started)
            request_id.reset(token)

    def _record(self, scope: Scope, exchange: Exchange, seconds: float) -> None:
        path = scope["path"]
        route = path if path in self._plain else route_template(self._routes, scope)
        self._metrics.requests.labels(route, str(exchange.status or 499)).inc()
        of_route = self._metrics.of_route(route)
        of_route.seconds.observe(seconds)
        of_route.received_bytes.inc(exchange.bytes_in)
        of_route.sent_bytes.inc(exchange.bytes_out)
        facts = {}
        if code := scope.get("error_code"):
            self._metrics.errors.labels(code).inc()
            facts["error"] = code
        if name := scope.get(KEY_NAME):
            facts["client"] = name
        _log.info(
            "request",
            extra={
                "method": scope["method"],
                "route": route,
                "status": exchange.status or 499,
                "ms": round(seconds * 1000, 1),
                "bytes_in": exchange.bytes_in,
                "bytes_out": exchange.bytes_out,
                **facts,
            },
        )


def route_template(routes: Sequence[BaseRoute], scope: Scope) -> str:
    """The path of the route that serves this request, or "unmatched": never a path that a client made up."""
    for route in routes:
        if route.matches(scope)[0] is not Match.NONE:
            return getattr(route, "path", UNMATCHED)
    return UNMATCHED
