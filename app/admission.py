"""Who comes in: requests are let through, refused before a byte of their body is read, or cut off while it comes.

A full service refuses a large upload cheaply, and what is inside is bounded in bytes and in time. Knows no pixels, no
form and no model.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import (
    BodyTooLarge,
    BodyTooSlow,
    DeadlinePassed,
    QueueFull,
    ServiceError,
    Unauthorised,
)
from app.metrics import Metrics
from app.settings import Settings

GUARDED: Final = frozenset({"/v1/matte", "/v1/cutout", "/v1.0/removebg", "/api/remove"})  # by POST
KEYED: Final = ("/v1/", "/v1.0/", "/api/")  # how their paths begin


class Admission:
    """Refuses what must not come in, and bounds in bytes and time what does."""

    def __init__(
        self, app: ASGIApp, *, settings: Settings, metrics: Metrics, check_ready: Callable[[], None]
    ) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._check_ready = check_ready
        self._keys = [key.get_secret_value().encode() for key in settings.api_keys]
        self._admitted = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        guarded = scope["method"] == "POST" and scope["path"] in GUARDED
        try:
            if scope["path"].startswith(KEYED):
                self._check_key(headers)
            if guarded:
                self._check_capacity(headers)
        except ServiceError as error:
            raise self._counted(error) from None
        if not guarded:
            await self._app(scope, receive, send)
            return
        body = _Body(receive, self._settings, self._counted)
        async with self._place(body):
            await self._app(scope, body.receive, send)

    def _check_key(self, headers: Headers) -> None:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = headers.get("x-api-key") or (bearer.strip() if scheme.lower() == "bearer" else "")
        # Every key is compared in full, so that the time taken tells nothing about any of them.
        matches = [hmac.compare_digest(given.encode(), key) for key in self._keys]
        if self._keys and not any(matches):
            raise Unauthorised("Send one of the service's keys as X-Api-Key or as Authorization: Bearer.")

    def _check_capacity(self, headers: Headers) -> None:
        self._check_ready()
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._settings.max_upload_bytes:
            raise _too_large(self._settings)
        if self._admitted >= self._settings.max_queue:
            raise QueueFull(f"{self._settings.max_queue} requests are in the house already; try again soon.")

    @asynccontextmanager
    async def _place(self, body: _Body) -> AsyncIterator[None]:
        """Holds one of the places until the deadline. Raises DeadlinePassed, or BodyTooSlow if `body` ate it all."""
        limit_ms = self._settings.request_timeout_ms
        self._admitted += 1
        try:
            with self._metrics.inflight.track_inprogress():
                async with asyncio.timeout(limit_ms / 1000):
                    yield
        except TimeoutError:
            passed = DeadlinePassed(f"The request took longer than {limit_ms} ms.")
            raise self._counted(passed if body.complete else _too_slow(limit_ms)) from None
        finally:
            self._admitted -= 1

    def _counted(self, error: ServiceError) -> ServiceError:
        self._metrics.rejected.labels(error.code).inc()
        return error


class _Body:
    """The request body, cut off at the byte cap and at the body deadline. `complete` once all of it has come."""

    def __init__(
        self, receive: Receive, settings: Settings, counted: Callable[[ServiceError], ServiceError]
    ) -> None:
        self._receive = receive
        self._settings = settings
        self._counted = counted
        self._ends = asyncio.get_running_loop().time() + settings.body_timeout_ms / 1000
        self._size = 0
        self.complete = False

    async def receive(self) -> Message:
        try:
            async with asyncio.timeout_at(None if self.complete else self._ends):
                message = await self._receive()
        except TimeoutError:
            raise self._counted(_too_slow(self._settings.body_timeout_ms)) from None
        self._size += len(message.get("body", b""))
        if self._size > self._settings.max_upload_bytes:
            raise self._counted(_too_large(self._settings))
        self.complete = not message.get("more_body", False)
        return message


def _too_slow(limit_ms: int) -> BodyTooSlow:
    return BodyTooSlow(f"The request body took longer than {limit_ms} ms.")


def _too_large(settings: Settings) -> BodyTooLarge:
    return BodyTooLarge(f"At most {settings.max_upload_bytes} bytes are accepted.")
