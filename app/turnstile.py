"""Heads of requests come in; those that would find no place are answered there and then.

In a flood that is nearly all of them, and what turning away costs is missing from the work on those inside. Nothing
is begun for a request that `app.admission` would refuse at once: the answer, the log's line and the counts are the
same, for a fraction of the time. Where more has to be known of a request than its address, it is left to the layers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

from starlette.types import Scope

from app.access import address_of
from app.admission import GUARDED
from app.errors import NotReady, QueueFull
from app.keys import KeyRing
from app.logs import ID_DIGITS, new_id, request_id
from app.metrics import Metrics
from app.middleware import id_of
from app.places import Places
from app.problems import to_bytes
from app.records import Records
from app.settings import Settings


class Turnstile:
    """For one app, before all its layers."""

    def __init__(
        self,
        *,
        keys: KeyRing,
        places: Places,
        check_ready: Callable[[], None],
        metrics: Metrics,
        records: Records,
    ) -> None:
        self._keys = keys
        self._places = places
        self._check_ready = check_ready
        self._refused = metrics.rejected.labels(QueueFull.reason)
        self._records = records

    def may_refuse(self, scope: Scope) -> bool:
        """Whether a request of this scope's client would find no place, if it needs one."""
        return not self._keys.needed and self._places.finds_none(address_of(scope))

    def refusal(self, scope: Scope) -> bytes | None:
        """The whole answer to a request without a place; None: let it in, or let others refuse it."""
        if scope["method"] != "POST" or scope["path"] not in GUARDED:
            return None
        began = time.perf_counter()
        if not self.may_refuse(scope) or not self._is_ready():
            return None
        error = self._places.turned_away()
        token = request_id.set(id_of(scope))
        try:
            scope["error_code"] = error.code
            self._refused.inc()
            head, body = answer_to(error)
            self._records.add(scope, error.status, time.perf_counter() - began, bytes_out=len(body))
        finally:
            request_id.reset(token)
        return head + body

    def _is_ready(self) -> bool:
        try:
            self._check_ready()
        except NotReady:
            return False
        return True


def answer_to(error: QueueFull) -> tuple[bytes, bytes]:
    """`to_bytes`, once for all who are told the same in the same second, but for the request's id."""
    identity = request_id.get()
    if len(identity) != ID_DIGITS:
        return to_bytes(error)
    stand_in, head, body = _pattern(error.detail, int(time.time()))
    given = identity.encode()
    return head.replace(stand_in, given), body.replace(stand_in, given)


@lru_cache(maxsize=64)
def _pattern(detail: str, _second: int) -> tuple[bytes, bytes, bytes]:
    """A request's id that stands in for all others, and head and body with it."""
    token = request_id.set(stand_in := new_id())
    try:
        return stand_in.encode(), *to_bytes(QueueFull(detail))
    finally:
        request_id.reset(token)


def knows_enough(settings: Settings) -> bool:
    """Whether an address on the socket is all that decides who finds a place, and nobody waits for the layers' words:
    no rates, no proxy that speaks for others, no other websites' browsers, no traces."""
    return not (
        settings.rate_per_minute
        or settings.trusted_proxies
        or settings.cors_origins
        or settings.otlp_endpoint
    )
