"""Find out who asks, by API key or address, and refuse without reading the body who may not.

    security.api_keys     everything below KEYED needs a key where there are any, and what `protect` names
    security.rate_limit   each client may post so many photos a minute

Knows no capacity, no form and no pixels.
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
from app.middleware.response_headers import ADDED
from app.observability.metrics import Metrics
from app.security.api_keys import Key, KeyRing
from app.security.rate_limit import RateLimiter, RateLimitStatus
from app.settings import Settings

CLIENT: Final = "matte.client"
"""Where in the scope it stands who asks: the key's name, else the address. Told apart by it, not shown to anybody."""

KEY_NAME: Final = "matte.key"
"""Where in the scope the key's name stands, if there is one: for the log, which tells no address."""

KEYED: Final = ("/v1/", "/v1.0/", "/api/")
"""How paths begin that need a key."""

PROTECTABLE: Final = {
    "metrics": re.compile(r"/metrics"),
    "ui": re.compile(r"/|/docs|/openapi\.json|/(page|docs)/(?s:.*)"),
}

HOW: Final = "Send one of the service's keys as X-Api-Key or as Authorization: Bearer."
WRONG: Final = "What was sent is none of the service's keys."
FOREIGN: Final = "Another website had the browser send this key; its scripts need one of their own."

# A browser that is told of Basic asks its user, and sends the key with all that the page then loads and posts.
# Below KEYED it is not told: the page asks there by itself, and two questions would be on the screen.
_ASK_USER: Final = 'Basic realm="u2matte: any name, a key as the password", charset="UTF-8"'
_NETWORK_BITS: Final = 64  # Who has an IPv6 address has all that begin alike, a new one for each request.


class AuthMiddleware:
    """Names each request's client, and refuses those without a key and those beyond their rate."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        keys: KeyRing,
        metrics: Metrics,
        limited: Collection[str],
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        unix_s: Callable[[], float] = time.time,
    ) -> None:
        """`limited`: the paths whose POSTs count against a client's rate."""
        self._app = app
        self._keys = keys
        self._rate = settings.rate_per_minute
        self._protect = settings.protect
        self._metrics = metrics
        self._limited = limited
        self._rate_limiter = RateLimiter()
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
        """Raises Unauthorised and RateLimited."""
        key = self._key_of(scope)
        if key is None:
            scope[CLIENT] = address_of(scope)
        else:
            scope[CLIENT] = scope[KEY_NAME] = key.name
        rate = self._rate if key is None or key.rate is None else key.rate
        if rate and scope["method"] == "POST" and scope["path"] in self._limited:
            share = self._rate_limiter.ask(scope[CLIENT], rate, self._monotonic_ns())
            scope[ADDED] = self._told(share)
            if share.wait_s is not None:
                detail = f"At most {rate} photos a minute; the next one may come in {share.wait_s} s."
                raise RateLimited(detail, share.wait_s)

    def _key_of(self, scope: Scope) -> Key | None:
        """None where no key is needed. Raises Unauthorised."""
        path = scope["path"]
        if not self._keys.needed or not is_keyed(path, self._protect):
            return None
        challenge = "Bearer" if path.startswith(KEYED) else _ASK_USER
        headers = Headers(scope=scope)
        secret = secret_of(headers)
        if not secret:
            raise Unauthorised(HOW, challenge=challenge)
        if scope["method"] == "POST" and is_cross_site(headers):
            raise Unauthorised(FOREIGN, challenge=challenge)
        key = self._keys.find(secret)
        if key is None:
            raise Unauthorised(f"{WRONG} {HOW}", challenge=challenge)
        return key

    def _told(self, share: RateLimitStatus) -> dict[str, str]:
        """In remove.bg's words, whose reset is a time of day, in seconds since 1970."""
        return {
            "X-RateLimit-Limit": str(share.rate),
            "X-RateLimit-Remaining": str(share.remaining),
            "X-RateLimit-Reset": str(math.ceil(self._unix_s() + share.full_in_s)),
        }


def is_keyed(path: str, protect: Collection[str]) -> bool:
    """Whether `path` needs a key, where there are keys; `protect` is which of PROTECTABLE do, too."""
    return path.startswith(KEYED) or any(PROTECTABLE[name].fullmatch(path) for name in protect)


def address_of(scope: Scope) -> str:
    """The other end's address, of IPv6 the network around it; "" where it is not known."""
    return _address(str((scope.get("client") or ("",))[0]))


@lru_cache(4096)
def _address(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:  # none, or no address: a socket in the file system
        return host
    if isinstance(address, IPv4Address):
        return host
    if address.ipv4_mapped is not None:  # IPv4, met on a socket that listens to both
        return str(address.ipv4_mapped)
    return str(IPv6Network((int(address), _NETWORK_BITS), strict=False))


def secret_of(headers: Headers) -> bytes:
    """What X-Api-Key says, else `Authorization: Bearer`, else the password of `Basic`; b"" where nothing does."""
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
    """Whether a browser sends this at the wish of another website, with a key that it knows from its user.

    Only Basic is kept by browsers, and sent by itself even with another website's form. They say whose wish it was in
    Sec-Fetch-Site, or, where the service is reached by plain HTTP, in Origin. Other programs send neither.
    """
    if "x-api-key" in headers or not headers.get("authorization", "").lower().startswith("basic "):
        return False
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")


def _password(encoded: str) -> bytes:
    """RFC 7617; the name before the colon may be anything."""
    try:
        return base64.b64decode(encoded, validate=True).partition(b":")[2]
    except ValueError:  # binascii.Error is one; letters that are not ASCII raise another
        return b""
