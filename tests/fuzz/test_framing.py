"""What the service takes for requests is what a strict parser does, and never a body: streams of fixed seeds."""

from __future__ import annotations

import random

import httptools
import pytest

from app.server import request_framing
from app.server.request_framing import Framing
from tests.fuzz import framing_target
from tests.fuzz.framing_target import by_h11, by_service, check
from tests.fuzz.http_streams import HIDDEN, in_pieces, stream

STREAMS = 2_000


def seen_alike(streams: int) -> list[framing_target.Seen]:
    seen = []
    for seed in range(streams):
        rng = random.Random(seed)
        data = stream(rng)
        seen.append(check(data, in_pieces(data, rng)))
    return seen


def test_service_and_h11_see_the_same_requests() -> None:
    seen = seen_alike(STREAMS)
    assert sum(each.refused for each in seen) > STREAMS / 10
    assert sum(len(each.whole) > 1 for each in seen) > STREAMS / 4


class AsHttptoolsDoes(Framing):
    """An upgrade ends its request behind its head."""

    def feed_data(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.feed_data(data[upgrade.args[0] :])

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._listener.on_url(self._target)
        self._listener.on_headers_complete()

    def on_message_complete(self) -> None:
        self._listener.on_message_complete()


def test_target_notices_bodies_that_are_taken_for_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing_target, "Framing", AsHttptoolsDoes)
    head = b"POST /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n"
    data = head % len(HIDDEN) + HIDDEN
    assert [target for _, target in by_service([data]).begun] == [b"/a", b"/hidden"]
    assert by_h11(data).whole == [(b"POST", b"/a", HIDDEN)]
    with pytest.raises(AssertionError):
        check(data, [data])
    with pytest.raises(AssertionError):
        seen_alike(100)


def test_target_notices_what_is_no_longer_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_framing, "_check", lambda *_: None)
    with pytest.raises(AssertionError):
        seen_alike(STREAMS)
