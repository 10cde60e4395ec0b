"""Admission control: accept a request, refuse it before a byte of its body is read, or cut its body off.

A full service refuses a large upload cheaply, and accepted requests are bounded in bytes and in time. Knows no
pixels, no form and no model.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import (
    BodyTooLarge,
    BodyTooSlow,
    DeadlinePassed,
    HeadTooLarge,
    QueueFull,
    ServiceError,
    SlotPreempted,
)
from app.middleware.auth import CLIENT
from app.middleware.concurrency_limit import AdaptiveLimit, ConcurrencyLimiter, deadline
from app.observability.metrics import Metrics
from app.settings import Settings

GUARDED: Final = frozenset({"/v1/matte", "/v1/cutout", "/v1.0/removebg", "/api/remove"})  # by POST


class AdmissionMiddleware:
    """Refuse requests that must not be served, and bound the others in bytes and time."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        metrics: Metrics,
        check_ready: Callable[[], None],
        adaptive_limit: AdaptiveLimit,
        limiter: ConcurrencyLimiter,
    ) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._check_ready = check_ready
        self._limit = adaptive_limit
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        guarded = scope["method"] == "POST" and scope["path"] in GUARDED
        try:
            self._check_head(scope)
            if guarded:
                self._check_announced(Headers(scope=scope))
        except ServiceError as error:
            raise self._counted(error) from None
        await (self._guarded if guarded else self._unguarded)(scope, receive, send)

    def _check_head(self, scope: Scope) -> None:
        """Of a head that came in one piece; what is larger is refused by app.server.protocol before it is a
        request."""
        line = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        most = self._settings.max_head_bytes
        if line + sum(len(name) + len(value) for name, value in scope["headers"]) > most:
            raise HeadTooLarge(f"At most {most:,} bytes are accepted before a request's body.")

    def _check_announced(self, headers: Headers) -> None:
        self._check_ready()
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._settings.max_upload_bytes:
            raise _too_large(self._settings)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises QueueFull, SlotPreempted, DeadlinePassed, or BodyTooSlow if the body ate all the time there was."""
        try:
            taken = self._limiter.acquire(scope.get(CLIENT, ""))
        except QueueFull as error:
            raise self._counted(error) from None
        body = _Body(receive, self._settings, self._counted)
        try:
            async with taken as slot:

                async def receive_and_mark() -> Message:
                    message = await body.receive()
                    if body.complete:
                        slot.mark_received()
                    return message

                async def send_and_commit(message: Message) -> None:
                    slot.commit()
                    if message.get("status") == 200:
                        now = body.now
                        self._limit.record_response(now, body_s=body.took_s, wait_s=now - body.came_at)
                    await send(message)

                with self._metrics.inflight.track_inprogress():
                    await self._app(scope, receive_and_mark, send_and_commit)
        except SlotPreempted as error:
            raise self._counted(error) from None
        except DeadlinePassed as error:
            slow = _too_slow(self._settings.request_timeout_ms)
            raise self._counted(error if body.complete else slow) from None

    async def _unguarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What costs little. A client that does not read the answer is not waited for without end, either."""
        try:
            async with deadline(self._settings.request_timeout_ms):
                await self._app(scope, receive, send)
        except DeadlinePassed as error:
            raise self._counted(error) from None

    def _counted(self, error: ServiceError) -> ServiceError:
        self._metrics.rejected.labels(error.reason).inc()
        return error


class _Body:
    """The request body, cut off at the byte cap and at the body deadline. `complete` once all of it has come, at the
    moment `came_at`."""

    def __init__(
        self, receive: Receive, settings: Settings, counted: Callable[[ServiceError], ServiceError]
    ) -> None:
        self._receive = receive
        self._settings = settings
        self._counted = counted
        self._begun = self.came_at = self.now
        self._ends = self._begun + settings.body_timeout_ms / 1000
        self._size = 0
        self.complete = False

    @property
    def now(self) -> float:
        """Seconds of the clock that event loops go by, too, as `came_at` is."""
        return time.monotonic()

    @property
    def took_s(self) -> float:
        """From the request's head to the end of its body."""
        return self.came_at - self._begun

    async def receive(self) -> Message:
        try:
            async with asyncio.timeout_at(None if self.complete else self._ends):
                message = await self._receive()
        except TimeoutError:
            raise self._counted(_too_slow(self._settings.body_timeout_ms)) from None
        self._size += len(message.get("body", b""))
        if self._size > self._settings.max_upload_bytes:
            raise self._counted(_too_large(self._settings))
        if not (self.complete or message.get("more_body", False)):
            self.complete, self.came_at = True, self.now
        return message


def _too_slow(limit_ms: int) -> BodyTooSlow:
    return BodyTooSlow(f"The request body took longer than {limit_ms} ms.")


def _too_large(settings: Settings) -> BodyTooLarge:
    return BodyTooLarge(f"At most {settings.max_upload_bytes:,} bytes are accepted.")
