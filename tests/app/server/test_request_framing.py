"""Where requests begin and end: what is served as it is meant, and what is refused. On real connections."""

from __future__ import annotations

import asyncio
import itertools

import httptools
import pytest

from app.server.request_framing import Framing
from tests.support.recording_app import PATIENCE_S, answers, recording

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /photo HTTP/1.1\r\nHost: x\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(HIDDEN)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
IN_CHUNKS = b"5;a=b\r\n" + HIDDEN[:5] + b"\r\n%x\r\n" % (len(HIDDEN) - 5) + HIDDEN[5:] + b"\r\n0\r\n\r\n"
WISHES = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    "WebSocket": b"Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n",
    "TLS": b"Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n",
    "unknown": b"CONNECTION: x, UPGRADE ,y\r\nUPGRADE: no-such/9, h2c\r\n",
    "in two fields": b"Connection: keep-alive\r\nConnection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n",
}
BODIES = {"by length": LENGTH + b"\r\n" + HIDDEN, "in chunks": CHUNKED + b"\r\n" + IN_CHUNKS}


ALL = [POST + wish + body for wish, body in itertools.product(WISHES.values(), BODIES.values())]


async def test_upgrade_is_ignored_and_its_body_is_a_body() -> None:
    async with recording() as service:
        for data in ALL:
            told = await answers(service.port, NEXT + data + data + NEXT)
            assert told == [(200, "/next"), (200, "/photo"), (200, "/photo"), (200, "/next")], data
    assert {body for _, path, body in service.whole if path == "/photo"} == {HIDDEN}
    assert "/hidden" not in service.begun
    assert not any(b"upgrade" in headers for headers in service.headers)


async def test_upgrade_is_ignored_however_it_comes_in_pieces() -> None:
    async with recording() as service:
        for data in ALL:
            head = data.index(b"\r\n\r\n") + 4
            for cut in (head - 1, head, head + 1, len(data) - 1):
                assert await answers(service.port, data[:cut], data[cut:]) == [(200, "/photo")], data
            assert await answers(service.port, *bytewise(data)) == [(200, "/photo")], data
    assert {body for _, _, body in service.whole} == {HIDDEN}


async def test_upgrade_without_a_body_is_ignored_too() -> None:
    async with recording() as service:
        wish = b"GET /page HTTP/1.1\r\nHost: x\r\n" + WISHES["WebSocket"] + b"\r\n"
        assert await answers(service.port, wish + wish + NEXT) == [
            (200, "/page"),
            (200, "/page"),
            (200, "/next"),
        ]


async def test_upgrade_keeps_what_else_it_says_of_the_connection() -> None:
    async with recording() as service:
        data = POST + b"Connection: upgrade, close\r\nUpgrade: h2c\r\n" + LENGTH + b"\r\n" + HIDDEN
        assert await answers(service.port, data + NEXT, ends=False) == [(200, "/photo")]


async def test_upgrade_of_an_upload_is_told_to_go_on() -> None:
    async with recording() as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(POST + WISHES["h2c"] + b"Expect: 100-continue\r\n" + LENGTH + b"\r\n")
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(HIDDEN)
            assert (await reader.readuntil(b"/photo")).startswith(b"HTTP/1.1 200 OK")
        writer.transport.abort()


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


SERVED = {
    "whole address": b"GET http://host/next HTTP/1.1\r\nHost: x\r\n\r\n",
    "whole address, secure": b"GET https://host:443/next?x HTTP/1.1\r\nHost: x\r\n\r\n",
    "other expectation": b"GET /next HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\n\r\n",
    "HTTP/1.0": b"GET /next HTTP/1.0\r\n\r\n",
    "lines before it": b"\r\n\r\nGET /next HTTP/1.1\r\nHost: x\r\n\r\n",
    "coding in capitals": b"POST /next HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n",
    "trailer": b"POST /next HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-T: y\r\n\r\n",
    "version to come, not taken": b"GET /next HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n",
}


async def test_unusual_but_sound_request_is_served() -> None:
    async with recording() as service:
        for name, data in SERVED.items():
            assert await answers(service.port, data) == [(200, "/next")], name


async def test_address_without_a_path_is_the_root() -> None:
    async with recording() as service:
        for target in (b"http://host", b"http://host?x=1", b"http://host/"):
            assert await answers(service.port, b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n") == [
                (200, "/")
            ]


async def test_field_after_a_body_is_not_taken_for_one_of_the_head() -> None:
    async with recording() as service:
        data = POST + CHUNKED + b"\r\n5\r\nhello\r\n0\r\nX-Forwarded-For: 10.0.0.1\r\nX-Api-Key: k\r\n\r\n"
        assert await answers(service.port, data + NEXT) == [(200, "/photo"), (200, "/next")]
    assert [*service.headers[0]] == [b"host", b"transfer-encoding"]
    assert [*service.headers[1]] == [b"host"]


# With a body behind that looks like a request, in whatever way it is meant.
REFUSED = {
    "coding beside length": POST + CHUNKED + LENGTH + b"\r\n0\r\n\r\n",
    "length beside coding": POST + LENGTH + CHUNKED + b"\r\n0\r\n\r\n",
    "two lengths": POST + LENGTH + b"Content-Length: 0\r\n\r\n",
    "the same length twice": POST + LENGTH + LENGTH + b"\r\n",
    "list of lengths": POST + b"Content-Length: 35, 35\r\n\r\n",
    "length with a sign": POST + b"Content-Length: +0\r\n\r\n",
    "length in hex": POST + b"Content-Length: 0x0\r\n\r\n",
    "empty length": POST + b"Content-Length:\r\n\r\n",
    "length beyond all bounds": POST + b"Content-Length: 18446744073709551616\r\n\r\n",
    "space before the colon": POST + b"Content-Length : 0\r\n\r\n",
    "chunked not last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked after another": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
    "chunked after nothing": POST + b"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "nearly chunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked with a space behind": POST + b"Transfer-Encoding: chunked \r\n\r\n0\r\n\r\n",
    "coding in HTTP/1.0": b"POST /photo HTTP/1.0\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "folded field": POST + b"X-A: b\r\n c\r\n\r\n",
    "folded length": POST + b"Content-Length: 1\r\n 0\r\n\r\n",
    "folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "bare LF after the line": b"POST /photo HTTP/1.1\nHost: x\r\n\r\n",
    "bare LF after a field": b"POST /photo HTTP/1.1\r\nHost: x\n\r\n",
    "bare LF for all": b"POST /photo HTTP/1.1\nHost: x\n\n",
    "bare CR in a field": POST + b"X-A: b\rContent-Length: 0\r\n\r\n",
    "NUL in a field": POST + b"X-A: b\0\r\n\r\n",
    "CONNECT": b"CONNECT host:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "CONNECT with a body": b"CONNECT host:443 HTTP/1.1\r\nHost: x\r\n" + LENGTH + b"\r\n",
    "HTTP/0.9": b"GET /photo\r\n\r\n",
    "HTTP/0.9 with fields": b"POST /photo\r\nHost: x\r\n\r\n",
    "HTTP/2 in so many words": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2 as a version": b"GET /photo HTTP/2.0\r\nHost: x\r\n\r\n",
    "HTTP/1.2": b"GET /photo HTTP/1.2\r\nHost: x\r\n\r\n",
    "upgrade beside both": POST + WISHES["h2c"] + CHUNKED + LENGTH + b"\r\n0\r\n\r\n",
    "upgrade with two codings": POST + WISHES["h2c"] + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
}


async def test_what_could_be_read_in_two_ways_is_refused() -> None:
    refused = (400, "malformed_request")
    async with recording() as service:
        for name, data in REFUSED.items():
            told = await answers(service.port, NEXT + data + HIDDEN, ends=False)
            assert told == [(200, "/next"), refused], name
            assert await answers(service.port, *bytewise(data + HIDDEN), ends=False) == [refused], name
    assert {*service.begun} == {"/next"}


BROKEN = {
    "bare LF behind a size": b"5\nhello\r\n0\r\n\r\n",
    "bare LF behind a chunk": b"5\r\nhello\n0\r\n\r\n",
    "chunk longer than its size": b"5\r\nhello!\r\n0\r\n\r\n",
    "chunk shorter than its size": b"6\r\nhello\r\n0\r\n\r\n",
    "negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "size beyond all bounds": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "line end in an extension": b"5;a\n=b\r\nhello\r\n0\r\n\r\n",
    "length as a trailer": b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
    "coding as a trailer": b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "upgrade as a trailer": b"5\r\nhello\r\n0\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    "end of the connection as a trailer": b"5\r\nhello\r\n0\r\nConnection: close\r\n\r\n",
}


@pytest.mark.parametrize("wish", [b"", WISHES["h2c"]], ids=["plain", "upgrade"])
async def test_body_that_is_no_body_is_a_400(wish: bytes) -> None:
    refused = (400, "malformed_request")
    async with recording() as service:
        for name, body in BROKEN.items():
            data = POST + wish + CHUNKED + b"\r\n" + body + HIDDEN
            told = await answers(service.port, NEXT + data, ends=False)
            assert told == [(200, "/next"), refused], name
            assert await answers(service.port, data, ends=False) == [refused], name
    assert {*service.begun} <= {"/next", "/photo"}
    assert {path for _, path, _ in service.whole} == {"/next"}


async def test_requests_before_one_that_is_refused_are_answered_first() -> None:
    async with recording() as service:
        slow = NEXT.replace(b"/next", b"/slow")
        asking = asyncio.create_task(
            answers(service.port, slow + NEXT + b"nonsense\r\n\r\n" + NEXT, ends=False)
        )
        async with asyncio.timeout(PATIENCE_S):
            while not service.whole:
                await asyncio.sleep(0)
        service.go.set()
        assert await asking == [(200, "/slow"), (200, "/next"), (400, "malformed_request")]
    assert len(service.begun) == 2


async def test_large_body_that_breaks_in_its_midst_gets_its_answer() -> None:
    async with recording() as service:
        chunk = b"186a0\r\n" + b"x" * 100_000 + b"\r\n"
        data = POST + CHUNKED + b"\r\n" + chunk * 20 + b"no size\r\n" + chunk * 50
        assert await answers(service.port, data, ends=False) == [(400, "malformed_request")]


class Deaf:
    """Hears of nothing, and fails where it is told to."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> object:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *_: None

    def on_headers_complete(self) -> None:
        raise self._error


@pytest.mark.parametrize("error", [httptools.HttpParserInvalidURLError("invalid url"), KeyError("ours")])
def test_reason_is_told_if_it_is_the_clients_fault(error: Exception) -> None:
    with pytest.raises(httptools.HttpParserError) as caught:
        Framing(Deaf(error)).feed_data(NEXT)  # type: ignore[arg-type]
    assert ("invalid url" in str(caught.value)) == isinstance(error, httptools.HttpParserError)
    assert "ours" not in str(caught.value)
