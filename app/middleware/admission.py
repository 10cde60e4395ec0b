"""Admission control: accept a request, refuse it before its body is read, or stop reading the body.

Refusing a large upload costs little even when the service is full; an accepted request is limited in bytes and in
time. Knows no pixels, no forms and no models.
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

GUARDED: Final = frozenset({"/v1/matte", "/v1/cutout", "/v1.0/removebg", "/api/remove"})  # for POST


class AdmissionMiddleware:
    """Refuse requests that the service cannot take, and limit the others in bytes and in time."""

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
                self._check_before_body(Headers(scope=scope))
        except ServiceError as error:
            raise self._count_rejection(error) from None
        await (self._run_in_slot if guarded else self._run_without_slot)(scope, receive, send)

    def _check_head(self, scope: Scope) -> None:
        """Raise HeadTooLarge for a head that arrived in one piece. `app.server.protocol` refuses larger ones before
        they become requests."""
        line = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        most = self._settings.max_head_bytes
        if line + sum(len(name) + len(value) for name, value in scope["headers"]) > most:
            raise HeadTooLarge(f"At most {most:,} bytes are accepted before a request's body.")

    def _check_before_body(self, headers: Headers) -> None:
        """Raise NotReady, or BodyTooLarge if the announced length is above the limit."""
        self._check_ready()
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._settings.max_upload_bytes:
            raise _too_large(self._settings)

    async def _run_in_slot(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request in a slot. Raises QueueFull, SlotPreempted, DeadlinePassed, or BodyTooSlow if the deadline
        passed before the body was complete."""
        try:
            held = self._limiter.acquire(scope.get(CLIENT, ""))
        except QueueFull as error:
            raise self._count_rejection(error) from None
        body = _Body(receive, self._settings, self._count_rejection)
        try:
            async with held as slot:

                async def receive_and_mark() -> Message:
                    message = await body.receive()
                    if body.complete:
                        slot.mark_received()
                    return message

                async def send_and_commit(message: Message) -> None:
                    slot.commit()
                    if message.get("status") == 200:
                        now = body.now
                        self._limit.record_response(now, body_s=body.took_s, wait_s=now - body.completed_at)
                    await send(message)

                with self._metrics.inflight.track_inprogress():
                    await self._app(scope, receive_and_mark, send_and_commit)
        except SlotPreempted as error:
            raise self._count_rejection(error) from None
        except DeadlinePassed as error:
            slow = _too_slow(self._settings.request_timeout_ms)
            raise self._count_rejection(error if body.complete else slow) from None

    async def _run_without_slot(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run a request that costs little, without a slot. The deadline also ends the wait for a client that does not
        read its answer."""
        try:
            async with deadline(self._settings.request_timeout_ms):
                await self._app(scope, receive, send)
        except DeadlinePassed as error:
            raise self._count_rejection(error) from None

    def _count_rejection(self, error: ServiceError) -> ServiceError:
        """Count the refusal in the metrics, and return it to be raised."""
        self._metrics.rejected.labels(error.reason).inc()
        return error


class _Body:
    """Read the request body up to the byte limit and the body deadline. `complete` is set when the last byte arrives,
    at the moment `completed_at`."""

    def __init__(
        self, receive: Receive, settings: Settings, count_rejection: Callable[[ServiceError], ServiceError]
    ) -> None:
        self._receive = receive
        self._settings = settings
        self._count_rejection = count_rejection
        self._started = self.completed_at = self.now
        self._deadline = self._started + settings.body_timeout_ms / 1000
        self._size = 0
        self.complete = False

    @property
    def now(self) -> float:
        """The time in seconds, on the clock of the event loop; `completed_at` is on the same clock."""
        return time.monotonic()

    @property
    def took_s(self) -> float:
        """Seconds from the end of the request's head to the end of its body."""
        return self.completed_at - self._started

    async def receive(self) -> Message:
        try:
            async with asyncio.timeout_at(None if self.complete else self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise self._count_rejection(_too_slow(self._settings.body_timeout_ms)) from None
        self._size += len(message.get("body", b""))
        if self._size > self._settings.max_upload_bytes:
            raise self._count_rejection(_too_large(self._settings))
        if not (self.complete or message.get("more_body", False)):
            self.complete, self.completed_at = True, self.now
        return message


def _too_slow(limit_ms: int) -> BodyTooSlow:
    return BodyTooSlow(f"The request body took longer than {limit_ms} ms.")


def _too_large(settings: Settings) -> BodyTooLarge:
    return BodyTooLarge(f"At most {settings.max_upload_bytes:,} bytes are accepted.")
