"""Find where each request on a connection begins and ends; report it through httptools' callbacks.

llhttp, which httptools wraps, stops behind a head with an upgrade, even if it announces a body, so that the body
would be read as the next request. The service speaks no other protocol, so such a head is parsed again without the
upgrade (RFC 9110 §7.8), and its body is read as a body. Bytes that two parsers could read as different requests are
refused, because one of the parsers may be a proxy that guards this service (RFC 9112 §11.2). Knows no routes and no
answers.
"""

from __future__ import annotations

from typing import Final, Protocol

import httptools

_VERSIONS: Final = ("1.1", "1.0")
# As trailers, after a body, these would change where requests end, or whether the connection stays open.
_NO_TRAILERS: Final = frozenset({b"connection", b"content-length", b"transfer-encoding", b"upgrade"})


class Listener(Protocol):
    """Receives the parts of each request, in this order."""

    def on_message_begin(self) -> None: ...
    def on_url(self, url: bytes) -> None: ...
    def on_header(self, name: bytes, value: bytes) -> None: ...
    def on_headers_complete(self) -> None: ...
    def on_body(self, body: bytes) -> None: ...
    def on_message_complete(self) -> None: ...


class Framing:
    """The parser of one connection; its `listener` sees an httptools.HttpRequestParser with an additional `close`."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.on_body = listener.on_body  # called by httptools, like all methods `on_…`
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._in_head = True
        self._replaying = False  # The listener knows this head; it is being parsed again.
        self._parser = self._new_parser()

    def feed_data(self, data: bytes) -> None:
        """Parse `data`. Raises HttpParserError with the reason; nothing can be parsed afterwards."""
        while True:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._replay_without_upgrade()
            except httptools.HttpParserCallbackError as error:
                if isinstance(reason := error.__context__, httptools.HttpParserError):
                    raise reason from None
                raise

    def close(self) -> None:
        """Break the reference cycle, so that the garbage collector has nothing to do."""
        del self._parser, self._listener, self.on_body

    def get_http_version(self) -> str:
        return self._parser.get_http_version()

    def get_method(self) -> bytes:
        return self._parser.get_method()

    def should_keep_alive(self) -> bool:
        return self._parser.should_keep_alive()

    def should_upgrade(self) -> bool:
        return False

    def on_message_begin(self) -> None:
        self._target, self._headers, self._in_head = b"", [], True
        if not self._replaying:
            self._listener.on_message_begin()

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        """Raises HttpParserError. Trailers are not handed on: a proxy looks at heads, and the app may have looked."""
        if self._in_head:
            self._headers.append((name, value))
        elif name.lower() in _NO_TRAILERS:
            raise httptools.HttpParserError(
                "A field after the body (a trailer) must not change how the body is sent."
            )

    def on_headers_complete(self) -> None:
        """Raises HttpParserError."""
        self._in_head = False
        method = self._parser.get_method()
        if method == b"CONNECT":
            raise httptools.HttpParserError("CONNECT is for proxies, and this is not a proxy.")
        _check(self._parser.get_http_version(), self._headers)
        if self._parser.should_upgrade():
            return
        listener = self._listener
        listener.on_url(_origin_form(self._target))
        for name, value in self._headers:
            listener.on_header(name, value)
        listener.on_headers_complete()

    def on_message_complete(self) -> None:
        if not self._parser.should_upgrade():
            self._listener.on_message_complete()

    def _replay_without_upgrade(self) -> None:
        """Parse the last head again, without the upgrade."""
        head = _without_upgrade(
            b"%b %b HTTP/%b"
            % (self._parser.get_method(), self._target, self._parser.get_http_version().encode()),
            self._headers,
        )
        self._parser = self._new_parser()
        self._replaying = True
        self.feed_data(head)
        self._replaying = False

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # Data after the last request of a connection is ignored, so that its answer can be sent.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser


def _check(version: str, headers: list[tuple[bytes, bytes]]) -> None:
    """Refuse what llhttp accepts and a stricter parser would not. Raises HttpParserError."""
    if version not in _VERSIONS:
        raise httptools.HttpParserError(f"HTTP/1.1 and HTTP/1.0 are spoken here, not HTTP/{version}.")
    for name, value in headers:
        if name.lower() == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise httptools.HttpParserError("Transfer-Encoding can only be chunked here.")
            if version == "1.0":
                raise httptools.HttpParserError("HTTP/1.0 has no Transfer-Encoding.")


def _origin_form(target: bytes) -> bytes:
    """The target without scheme and host, which a client may send, too (RFC 9112 §3.2.2)."""
    if target.startswith(b"/"):
        return target
    url = httptools.parse_url(target)
    if url.host is None:
        return target
    query = b"" if url.query is None else b"?" + url.query
    return (url.path or b"/") + query


def _without_upgrade(line: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    kept = [line]
    for name, value in headers:
        match name.lower():
            case b"upgrade":
                continue
            case b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(token for token in tokens if token.lower() != b"upgrade")
        kept.append(b"%b: %b" % (name, value))
    return b"\r\n".join([*kept, b"", b""])
