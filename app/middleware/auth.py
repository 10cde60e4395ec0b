"""Authentication: identify the client by API key or address; refuse missing keys and exceeded rates before the body
is read.

    security.api_keys     with keys configured, all paths below KEYED need one, and so do those that `protect` names
    security.rate_limit   limits the photos that a client may post per minute

Knows no capacity, no forms and no pixels.
"""

from __future__ import annotations

import base64
import math
import re
import time
from collections.abc import Callable, Collection
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import RateLimited, ServiceError, Unauthorised
from app.middleware.response_headers import EXTRA_HEADERS
from app.observability.metrics import Metrics
from app.security.api_keys import Key, KeyRing
from app.security.rate_limit import RateLimiter, RateLimitStatus
from app.settings import Settings

CLIENT: Final = "matte.client"
"""Scope key of the client's identity: the key's name, or else the address. Never shown to anybody."""

KEY_NAME: Final = "matte.key"
"""Scope key of the API key's name, if there is one. Logged; addresses are not."""

KEYED: Final = ("/v1/", "/v1.0/", "/api/")
"""Prefixes of the paths that need a key."""

PROTECTABLE: Final = {
    "metrics": re.compile(r"/metrics"),
    "ui": re.compile(r"/|/docs|/api|/openapi\.json|/(page|docs)/(?s:.*)"),
}

HOW_TO_SEND: Final = "Send one of the service's keys as X-Api-Key or as Authorization: Bearer."
WRONG_KEY: Final = "The key that was sent is not one of the service's keys."
CROSS_SITE_KEY: Final = "Another website made the browser send this key; its scripts need a key of their own."

# After a Basic challenge a browser asks its user for the key, and sends it with every later request of the page.
# Paths below KEYED do not send this challenge: the page asks for the key itself, and the user would be asked twice.
_BASIC_CHALLENGE: Final = 'Basic realm="u2matte: any name, a key as the password", charset="UTF-8"'
_NETWORK_BITS: Final = 64  # An IPv6 client has a whole /64 network, and may use a new address per request.


class AuthMiddleware:
    """Identify the client of each request; refuse requests without a valid key or above their rate limit."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        keys: KeyRing,
        metrics: Metrics,
        limited: Collection[str],
        rate_limiter: RateLimiter,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        unix_s: Callable[[], float] = time.time,
    ) -> None:
        """`limited`: the paths whose POSTs count against the rate limit."""
        self._app = app
        self._keys = keys
        self._rate = settings.rate_per_minute
        self._protect = settings.protect
        self._metrics = metrics
        self._limited = limited
        self._rate_limiter = rate_limiter
        self._monotonic_ns = monotonic_ns
        self._unix_s = unix_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._identify(scope)
            except ServiceError as error:
                self._metrics.rejected.labels(error.reason).inc()
                raise
        await self._app(scope, receive, send)

    def _identify(self, scope: Scope) -> None:
        """Store the client in the scope and apply its rate limit. Raises Unauthorised or RateLimited."""
        key = self._key_of(scope)
        if key is None:
            scope[CLIENT] = address_of(scope)
        else:
            scope[CLIENT] = scope[KEY_NAME] = key.name
        rate = self._rate if key is None or key.rate is None else key.rate
        if rate and scope["method"] == "POST" and scope["path"] in self._limited:
            status = self._rate_limiter.take(scope[CLIENT], rate, self._monotonic_ns())
            scope[EXTRA_HEADERS] = self._rate_headers(status)
            if status.wait_s is not None:
                detail = f"At most {rate} photos a minute; the next one may come in {status.wait_s} s."
                raise RateLimited(detail, status.wait_s)

    def _key_of(self, scope: Scope) -> Key | None:
        """Return the request's key, or None where no key is needed. Raises Unauthorised."""
        path = scope["path"]
        if not self._keys.needed or not is_keyed(path, self._protect):
            return None
        challenge = "Bearer" if path.startswith(KEYED) else _BASIC_CHALLENGE
        headers = Headers(scope=scope)
        secret = secret_of(headers)
        if not secret:
            raise Unauthorised(HOW_TO_SEND, challenge=challenge)
        if scope["method"] == "POST" and is_cross_site(headers):
            raise Unauthorised(CROSS_SITE_KEY, challenge=challenge)
        key = self._keys.find(secret)
        if key is None:
            raise Unauthorised(f"{WRONG_KEY} {HOW_TO_SEND}", challenge=challenge)
        return key

    def _rate_headers(self, status: RateLimitStatus) -> dict[str, str]:
        """Rate limit headers with remove.bg's names: the reset is a time of day, in seconds since 1970."""
        return {
            "X-RateLimit-Limit": str(status.rate),
            "X-RateLimit-Remaining": str(status.remaining),
            "X-RateLimit-Reset": str(math.ceil(self._unix_s() + status.full_in_s)),
        }


def is_keyed(path: str, protect: Collection[str]) -> bool:
    """Whether `path` needs a key when keys are configured; `protect` adds paths by their names in PROTECTABLE."""
    return path.startswith(KEYED) or any(PROTECTABLE[name].fullmatch(path) for name in protect)


def address_of(scope: Scope) -> str:
    """The client's IP address, for IPv6 its /64 network; "" if unknown."""
    return _address(str((scope.get("client") or ("",))[0]))


@lru_cache(4096)
def _address(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:  # empty, or not an IP address: a Unix socket
        return host
    if isinstance(address, IPv4Address):
        return host
    if address.ipv4_mapped is not None:  # an IPv4 client on a dual-stack socket
        return str(address.ipv4_mapped)
    return str(IPv6Network((int(address), _NETWORK_BITS), strict=False))


def secret_of(headers: Headers) -> bytes:
    """The key from X-Api-Key, or else from `Authorization: Bearer`, or else the password of `Basic`; b"" if there is
    none."""
    if given := headers.get("x-api-key", "").strip():
        return given.encode("latin-1")
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return rest.strip().encode("latin-1")
        case "basic":
            return _password(rest.strip())
    return b""


def is_cross_site(headers: Headers) -> bool:
    """Whether another website made the browser send this request, with a key that the browser had stored for its
    user.

    Browsers store only Basic credentials, and send them even with a form of another website. They name the origin of
    a request in Sec-Fetch-Site or, if the service is reached by plain HTTP, in Origin. Other programs send neither.
    """
    if "x-api-key" in headers or not headers.get("authorization", "").lower().startswith("basic "):
        return False
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")


def _password(encoded: str) -> bytes:
    """Decode the password of Basic authentication (RFC 7617). The user name before the colon may be anything."""
    try:
        return base64.b64decode(encoded, validate=True).partition(b":")[2]
    except ValueError:  # binascii.Error is a ValueError; non-ASCII characters raise a plain one
        return b""
