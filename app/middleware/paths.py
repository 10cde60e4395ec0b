"""A path as a client or a proxy wrote it comes in, the one that a route has goes on.

Every route is served with and without a slash at its end, and below the path where a proxy publishes the service,
whether the proxy takes that away or not. Nothing is redirected: a redirect turns a POST into a GET in many clients,
and cannot know which address the proxy is reached by. Comes before all that looks at a path.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app import settings

PREFIX: Final = "matte.prefix"
"""Where in the scope it stands below which path the service is published; "" is at the root."""

UNSLASHED: Final = "matte.unslashed"
"""In the scope where the root was asked for without its slash: what it names by relative addresses is not there."""

_HEADER: Final = b"x-forwarded-prefix"
# Its page names its files by relative addresses, which a slash would change.
_AS_IT_IS: Final = frozenset({"/docs"})


class PathMiddleware:
    """The layer outside of all others."""

    def __init__(self, app: ASGIApp, *, routes: Iterable[BaseRoute], root_path: str) -> None:
        self._app = app
        self._known = {path for route in routes if "{" not in (path := getattr(route, "path", "{"))}
        self._slashed = self._known - _AS_IT_IS
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            prefix = scope.get(PREFIX) or self._root_path or scope.get("root_path", "")
            scope[PREFIX], scope["root_path"] = prefix, ""
            if scope["path"] not in self._known:
                if prefix and scope["path"] == prefix:
                    scope[UNSLASHED] = True
                scope["path"] = self._found(scope["path"], prefix)
        await self._app(scope, receive, send)

    def _found(self, path: str, prefix: str) -> str:
        if (plain := self._without_slash(path)) in self._known:
            return plain
        if prefix and (path == prefix or path.startswith(f"{prefix}/")):
            return self._without_slash(path.removeprefix(prefix)) or "/"
        return path

    def _without_slash(self, path: str) -> str:
        plain = path.removesuffix("/")
        return plain if plain in self._slashed else path


class TrustedProxies:
    """What trusted proxies say of a request is believed: who asked, by which scheme, and below which path."""

    def __init__(self, app: ASGIApp, trusted: str) -> None:
        """`trusted`: addresses and networks, comma-separated, or `*`."""
        self._app = ProxyHeadersMiddleware(app, trusted)  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (scope.get("client") or ("",))[0] in self._app.trusted_hosts:
            scope[PREFIX] = prefix_of(value for name, value in scope["headers"] if name == _HEADER)
        await self._app(scope, receive, send)  # type: ignore[arg-type]


def prefix_of(values: Iterable[bytes]) -> str:
    """Of X-Forwarded-Prefix, to which each proxy on the way may have added its own; "" for what is no path."""
    parts = [part.strip().rstrip("/") for part in b",".join(values).decode("latin-1").split(",")]
    prefix = "".join(parts)
    return prefix if settings.ROOT_PATH.fullmatch(prefix) else ""
