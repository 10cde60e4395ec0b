"""Bytes of a connection come in; what requests the service sees in them, and what h11 does, which is strict, go out.

Where they differ, one of them takes a piece of a body for a request, and proxies read in one of both ways.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import h11
import httptools

from app.server.request_framing import Framing


@dataclass
class Seen:
    """`begun`: method and target of each request whose head came. `whole`: the same and the body, once all has come.
    `refused`: reading ended in an error."""

    begun: list[tuple[bytes, bytes]] = field(default_factory=list)
    whole: list[tuple[bytes, bytes, bytes]] = field(default_factory=list)
    refused: bool = False


def by_service(pieces: Iterable[bytes]) -> Seen:
    """As `app.server.protocol` would see it: nothing more is taken after a request that is to be the last."""
    listener = _Listener()
    try:
        for piece in pieces:
            listener.framing.feed_data(piece)
    except httptools.HttpParserCallbackError:
        raise
    except httptools.HttpParserError:
        listener.seen.refused = True
    return listener.seen


class _Listener:
    def __init__(self) -> None:
        self.seen = Seen()
        self.framing = Framing(self)
        self._parts: list[bytes] = []
        self._last = False

    def on_message_begin(self) -> None:
        self._target = b""

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        pass

    def on_headers_complete(self) -> None:
        self._parts = []
        if not self._last:
            self.seen.begun.append((self.framing.get_method(), self._target))

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        if not self._last:
            self.seen.whole.append((*self.seen.begun[-1], b"".join(self._parts)))
        # As uvicorn has it, for whom HTTP/1.0 knows no second request.
        keeps = self.framing.get_http_version() != "1.0" and self.framing.should_keep_alive()
        self._last = self._last or not keeps


def by_h11(data: bytes) -> Seen:
    """Each request is answered as soon as it has come whole, and no other protocol is ever taken up."""
    seen = Seen()
    # Empty lines before a request are for a server to pass over (RFC 9112 §2.2), which h11 does not.
    while data := data.lstrip(b"\r\n"):
        data = _next_by_h11(data, seen)
    return seen


def _next_by_h11(data: bytes, seen: Seen) -> bytes:
    """What follows the one request that `data` begins with; nothing where no more is to be read."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1_000_000)
    connection.receive_data(data)
    body = b""
    try:
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event in (h11.NEED_DATA, h11.PAUSED):
                return b""
            if isinstance(event, h11.Request):
                seen.begun.append((event.method, _origin_form(event.target)))
            elif isinstance(event, h11.Data):
                body += event.data
    except h11.RemoteProtocolError:
        seen.refused = True
        return b""
    seen.whole.append((*seen.begun[-1], body))
    connection.send(h11.Response(status_code=404, headers=[("content-length", "0")]))
    connection.send(h11.EndOfMessage())
    return b"" if connection.our_state is h11.MUST_CLOSE else connection.trailing_data[0]


def _origin_form(target: bytes) -> bytes:
    if not target.startswith(b"http://"):
        return target
    path = target.removeprefix(b"http://").partition(b"/")[2]
    return b"/" + path


def check(data: bytes, pieces: Iterable[bytes]) -> Seen:
    """What the service sees. Raises AssertionError where that is a request that h11 does not see, one with another
    body, or another one because of the pieces it came in."""
    ours, theirs = by_service([data]), by_h11(data)
    assert ours.whole == theirs.whole[: len(ours.whole)], (ours, theirs)
    assert ours.begun == theirs.begun[: len(ours.begun)], (ours, theirs)
    if not (ours.refused or theirs.refused):
        assert ours == theirs
    in_pieces = by_service(pieces)
    assert in_pieces == ours, (in_pieces, ours)
    return ours
