"""Rewrite the path that a client or a proxy sent to the path of a route.

Each route is served with and without a trailing slash, and below the path prefix at which a proxy publishes the
service, whether or not the proxy strips the prefix. There are no redirects: many clients turn a redirected POST into
a GET, and the service does not know the proxy's public address. This layer runs before all others that read a path.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app import settings

PREFIX: Final = "matte.prefix"
"""Scope key of the path prefix at which the service is published; "" is the root."""

UNSLASHED: Final = "matte.unslashed"
"""Scope key, set if the root was requested without its slash: relative addresses in the page would not resolve."""

_HEADER: Final = b"x-forwarded-prefix"
# The page refers to its files by relative addresses, which a slash would break.
_WITHOUT_SLASH: Final = frozenset({"/docs", "/api"})


class PathMiddleware:
    """The outermost layer: rewrite the path of each request."""

    def __init__(self, app: ASGIApp, *, routes: Iterable[BaseRoute], root_path: str) -> None:
        self._app = app
        self._known = {path for route in routes if "{" not in (path := getattr(route, "path", "{"))}
        self._slash_allowed = self._known - _WITHOUT_SLASH
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            prefix = scope.get(PREFIX) or self._root_path or scope.get("root_path", "")
            scope[PREFIX], scope["root_path"] = prefix, ""
            if scope["path"] not in self._known:
                if prefix and scope["path"] == prefix:
                    scope[UNSLASHED] = True
                scope["path"] = self._route_path(scope["path"], prefix)
        await self._app(scope, receive, send)

    def _route_path(self, path: str, prefix: str) -> str:
        if (plain := self._without_slash(path)) in self._known:
            return plain
        if prefix and (path == prefix or path.startswith(f"{prefix}/")):
            return self._without_slash(path.removeprefix(prefix)) or "/"
        return path

    def _without_slash(self, path: str) -> str:
        plain = path.removesuffix("/")
        return plain if plain in self._slash_allowed else path


class TrustedProxies:
    """Take client address, scheme and path prefix from the headers that trusted proxies set."""

    def __init__(self, app: ASGIApp, trusted: str) -> None:
        """`trusted`: addresses and networks, comma-separated, or `*`."""
        self._app = ProxyHeadersMiddleware(app, trusted)  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (scope.get("client") or ("",))[0] in self._app.trusted_hosts:
            scope[PREFIX] = prefix_of(value for name, value in scope["headers"] if name == _HEADER)
        await self._app(scope, receive, send)  # type: ignore[arg-type]


def prefix_of(values: Iterable[bytes]) -> str:
    """Join the values of X-Forwarded-Prefix, one from each proxy on the way; "" if the result is no path."""
    parts = [part.strip().rstrip("/") for part in b",".join(values).decode("latin-1").split(",")]
    prefix = "".join(parts)
    return prefix if settings.ROOT_PATH.fullmatch(prefix) else ""
