"""What every request meets first: it gets its id, and log and metrics are told how it ended.

The layers around the routes, from the outside, all of raw ASGI messages:

    Paths           (app.paths) the path as the routes have it
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
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import ServiceError
from app.exchange import Exchange
from app.logs import new_id, request_id
from app.problems import to_response
from app.records import Records

_SANE_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_log = logging.getLogger("app.access")


def id_of(scope: Scope) -> str:
    """The request's own id, if it is one, or a new one."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _SANE_ID.fullmatch(given) else new_id()


class Observation:
    """Gives each request its id, and tells the log and the metrics how it ended."""

    def __init__(self, app: ASGIApp, *, records: Records) -> None:
        self._app = app
        self._records = records

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        token = request_id.set(id_of(scope))
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
            seconds = time.perf_counter() - started
            sizes = {"bytes_in": exchange.bytes_in, "bytes_out": exchange.bytes_out}
            self._records.add(scope, exchange.status, seconds, **sizes)
            request_id.reset(token)
