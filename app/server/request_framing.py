"""Bytes of a connection come in; where each request begins and ends goes out, as httptools' callbacks.

llhttp, which httptools wraps, stops behind a head that asks for another protocol, whatever body it announces: what
follows would be taken for the next request. No other protocol is spoken here, so such a head is read once more
without that wish (RFC 9110 §7.8), and its body is a body. What two readers could take for different requests is
refused, because one of them may be a proxy that guards this service (RFC 9112 §11.2). Knows no route and no answer.
"""

from __future__ import annotations

from typing import Final, Protocol

import httptools

_VERSIONS: Final = ("1.1", "1.0")
# Of fields after a body (trailers) these would change where requests end, or which connection they are on.
_NO_TRAILERS: Final = frozenset({b"connection", b"content-length", b"transfer-encoding", b"upgrade"})


class Listener(Protocol):
    """Who hears of each request's parts, in this order."""

    def on_message_begin(self) -> None: ...
    def on_url(self, url: bytes) -> None: ...
    def on_header(self, name: bytes, value: bytes) -> None: ...
    def on_headers_complete(self) -> None: ...
    def on_body(self, body: bytes) -> None: ...
    def on_message_complete(self) -> None: ...


class Framing:
    """Of one connection; to its `listener` it is an httptools.HttpRequestParser, except for `close`."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.on_body = listener.on_body  # Called by httptools, like all that begins with `on_`.
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._in_head = True
        self._again = False  # The head that comes has been heard of, and is read once more.
        self._parser = self._new_parser()

    def feed_data(self, data: bytes) -> None:
        """Raises HttpParserError, whose text says what is wrong; nothing can be read after that."""
        while True:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._read_again()
            except httptools.HttpParserCallbackError as error:
                if isinstance(reason := error.__context__, httptools.HttpParserError):
                    raise reason from None
                raise

    def close(self) -> None:
        """Let go of what refers to this, so that nothing has to look for the circle."""
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
        if not self._again:
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

    def _read_again(self) -> None:
        """The head that asked for another protocol, without that wish."""
        head = _without_upgrade(
            b"%b %b HTTP/%b"
            % (self._parser.get_method(), self._target, self._parser.get_http_version().encode()),
            self._headers,
        )
        self._parser = self._new_parser()
        self._again = True
        self.feed_data(head)
        self._again = False

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # What comes after a request that is to be the last is passed over, so that its answer can go out.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser


def _check(version: str, headers: list[tuple[bytes, bytes]]) -> None:
    """What llhttp lets pass and a stricter reader would not. Raises HttpParserError."""
    if version not in _VERSIONS:
        raise httptools.HttpParserError(f"HTTP/1.1 and HTTP/1.0 are spoken here, not HTTP/{version}.")
    for name, value in headers:
        if name.lower() == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise httptools.HttpParserError("Transfer-Encoding can only be chunked here.")
            if version == "1.0":
                raise httptools.HttpParserError("HTTP/1.0 has no Transfer-Encoding.")


def _origin_form(target: bytes) -> bytes:
    """A target without scheme and host, which a client may send as well (RFC 9112 §3.2.2)."""
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
