"""How a request ended comes in; a log line and the metrics tell it. Knows no answer and no connection."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from app.access import KEY_NAME
from app.metrics import Metrics

UNMATCHED: Final = "unmatched"
LEFT: Final = 499  # no status of a server's: the client was gone before there was one

_log = logging.getLogger("app.access")


class Records:
    """Of all requests of one app."""

    def __init__(self, metrics: Metrics, routes: Sequence[BaseRoute]) -> None:
        self._metrics = metrics
        self._routes = routes
        self._plain = {path for route in routes if "{" not in (path := getattr(route, "path", "{"))}

    def add(self, scope: Scope, status: int, seconds: float, *, bytes_in: int = 0, bytes_out: int) -> None:
        """`status` 0: none was sent. The error's code, if it was one, stands in the scope."""
        path = scope["path"]
        route = path if path in self._plain else route_template(self._routes, scope)
        self._metrics.requests.labels(route, str(status or LEFT)).inc()
        of_route = self._metrics.of_route(route)
        of_route.seconds.observe(seconds)
        of_route.received_bytes.inc(bytes_in)
        of_route.sent_bytes.inc(bytes_out)
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
                "status": status or LEFT,
                "ms": round(seconds * 1000, 1),
                "bytes_in": bytes_in,
                "bytes_out": bytes_out,
                **facts,
            },
        )


def route_template(routes: Sequence[BaseRoute], scope: Scope) -> str:
    """The path of the route that serves this request, or "unmatched": never a path that a client made up."""
    for route in routes:
        if route.matches(scope)[0] is not Match.NONE:
            return getattr(route, "path", UNMATCHED)
    return UNMATCHED
