from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from starlette.types import Receive, Scope, Send

from app.observability.metrics import Metrics
from app.server import connection_limits as limiter
from app.server import lingering_close, server
from app.server.connection_limits import ConnectionLimiter
from app.server.protocol import ResponseTransport
from app.settings import Settings
from tests.support.services import until
from tests.support.socket_servers import opened

PATIENCE_S = 10
GET = b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = 10_000_000  # bytes of a body that no buffer of a socket holds
REFUSED = b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % LARGE
READ = b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass
class Server:
    """An ASGI app behind this limiter's connections: /quick answers at once, /slow when `go` is set, /read reads, and
    /refuse answers without having read anything."""

    settings: Settings
    port: int = 0
    metrics: Metrics = field(default_factory=Metrics)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    clients: list[str] = field(default_factory=list)
    limiter: ConnectionLimiter = field(init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.clients.append(scope["client"][0])
        if scope["path"] == "/slow":
            await self.go.wait()
        while scope["path"] == "/read" and (await receive()).get("more_body"):
            pass
        body = b"large" * 10_000_000 if scope["path"] == "/large" else b"ok"
        headers = [(b"content-length", str(len(body)).encode())]
        if scope["path"] == "/refuse":
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def refused(self, reason: str) -> float:
        return self.metrics.registry.get_sample_value("matte_rejected_total", {"reason": reason}) or 0

    @property
    def open(self) -> float:
        return self.metrics.registry.get_sample_value("matte_connections") or 0

    @property
    def discarded(self) -> float:
        return self.metrics.registry.get_sample_value("matte_discarded_bytes_total") or 0


@asynccontextmanager
async def serving(**chosen: object) -> AsyncIterator[Server]:
    settings = Settings(**chosen)  # type: ignore[arg-type]
    made = Server(settings)
    made.limiter = ConnectionLimiter(settings, made.metrics)
    async with opened(server.Server(made, made.limiter, settings)) as made.port:
        try:
            yield made
        finally:
            made.go.set()


class Wire:
    """One connection, byte for byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_without_end(self) -> None:
        while True:
            await self.send(b"x" * 100_000)

    async def until_closed(self) -> bytes:
        """Everything that still comes."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def answer(self) -> bytes:
        """The head of an answer and its two bytes."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readuntil(b"\r\n\r\nok")


@asynccontextmanager
async def wire(server: Server, source: str = "127.0.0.1") -> AsyncIterator[Wire]:
    made = await asyncio.open_connection("127.0.0.1", server.port, local_addr=(source, 0))
    try:
        yield Wire(*made)
    finally:
        made[1].transport.abort()


def error(answer: bytes) -> tuple[str, str]:
    """(status line's number, code) of an answer that is an error as all others are."""
    head, _, body = answer.partition(b"\r\n\r\n")
    told = json.loads(body)
    assert len(told["request_id"]) == 32
    assert b"connection: close" in head
    assert f"content-length: {len(body)}".encode() in head
    return head.decode().split(" ")[1], told["errors"][0]["code"]


async def test_head_that_never_ends_is_refused_once_it_is_too_large() -> None:
    async with serving(max_head_bytes=2_000) as server, wire(server) as client:
        await client.send(b"GET / HTTP/1.1\r\nX-Filler: ")
        await client.send(b"x" * 3_000)
        assert error(await client.until_closed()) == ("431", "head_too_large")
        assert server.refused("head_too_large") == 1


async def test_head_below_the_limit_is_taken() -> None:
    async with serving(max_head_bytes=2_000) as server, wire(server) as client:
        await client.send(b"GET /quick HTTP/1.1\r\nX-Filler: " + b"x" * 1_900)
        await client.send(b"\r\n\r\n")
        assert (await client.answer()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("beginning", [b"0\r\nX-Trailer: ", b"1;"], ids=["trailer", "chunk extension"])
async def test_what_comes_beside_a_body_is_bounded_too(beginning: bytes) -> None:
    async with serving(max_head_bytes=2_000) as server, wire(server) as client:
        await client.send(READ + beginning)
        await until(lambda: bool(server.clients))
        await client.send(b"x" * 3_000)
        assert error(await client.until_closed()) == ("431", "head_too_large")
        assert server.refused("head_too_large") == 1


async def test_body_may_be_larger_than_a_head() -> None:
    async with serving(max_head_bytes=2_000) as server, wire(server) as client:
        await client.send(READ)
        for _ in range(10):
            await client.send(b"3e8\r\n" + b"x" * 1_000 + b"\r\n")
        await client.send(b"0\r\n\r\n")
        assert (await client.answer()).startswith(b"HTTP/1.1 200")


async def test_connection_that_says_nothing_is_closed_without_a_word() -> None:
    async with serving(head_timeout_ms=50) as server, wire(server) as client:
        assert await client.until_closed() == b""
        await until(lambda: server.open == 0)


async def test_head_that_dawdles_is_a_408() -> None:
    async with serving(head_timeout_ms=50) as server, wire(server) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost:")
        assert error(await client.until_closed()) == ("408", "head_too_slow")
        assert server.refused("head_too_slow") == 1


async def test_second_head_that_dawdles_is_a_408_too() -> None:
    async with serving(head_timeout_ms=50) as server, wire(server) as client:
        await client.send(GET)
        await client.answer()
        await client.send(GET[:10])
        assert error(await client.until_closed()) == ("408", "head_too_slow")


async def test_head_behind_one_that_is_being_answered_must_come_in_time_as_well() -> None:
    async with serving(head_timeout_ms=50) as server, wire(server) as client:
        await client.send(SLOW + GET[:10])
        await until(lambda: server.open == 1)
        server.go.set()
        await client.answer()
        assert error(await client.until_closed()) == ("408", "head_too_slow")


async def test_silence_between_requests_may_be_longer_than_a_head_may_take() -> None:
    async with serving(head_timeout_ms=50, keep_alive_ms=3_600_000) as server, wire(server) as patient:
        await patient.send(GET)
        await patient.answer()
        async with wire(server) as other:  # Closed for what the first one may do.
            assert await other.until_closed() == b""
        await patient.send(GET)
        assert (await patient.answer()).startswith(b"HTTP/1.1 200")


async def test_silence_between_requests_ends() -> None:
    async with serving(keep_alive_ms=50) as server, wire(server) as client:
        await client.send(GET)
        await client.answer()
        assert await client.until_closed() == b""


async def test_one_connection_too_many_replaces_the_longest_silent() -> None:
    async with serving(max_connections=2) as server, wire(server) as first, wire(server) as second:
        await until(lambda: server.open == 2)
        async with wire(server) as third:
            assert await first.until_closed() == b""
            for client in (second, third):
                await client.send(GET)
                assert (await client.answer()).startswith(b"HTTP/1.1 200")
            assert server.refused("connection_displaced") == 1


async def test_one_that_has_been_answered_has_waited_less_long() -> None:
    async with serving(max_connections=2) as server, wire(server) as first, wire(server) as second:
        await first.send(GET)
        await first.answer()
        async with wire(server) as third:
            await third.send(GET)
            await third.answer()
            assert await second.until_closed() == b""
            await first.send(GET)
            await first.answer()


async def test_busy_connections_give_way_to_another_address_but_not_to_their_own() -> None:
    async with serving(max_connections=2) as server, wire(server) as first, wire(server) as second:
        for client in (first, second):
            await client.send(SLOW)
        await until(lambda: len(server.clients) == 2)
        async with wire(server) as third:
            assert error(await third.until_closed()) == ("503", "too_many_connections")
        async with wire(server, "127.0.0.2") as stranger:
            assert await first.until_closed() == b""
            await stranger.send(GET)
            assert (await stranger.answer()).startswith(b"HTTP/1.1 200")
        server.go.set()
        assert (await second.answer()).startswith(b"HTTP/1.1 200")


async def test_thousand_silent_connections_keep_no_request_out() -> None:
    async with serving(max_connections=200) as server:
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(1_000)]
        async with wire(server) as client:
            await client.send(GET)
            assert (await client.answer()).startswith(b"HTTP/1.1 200")
        assert server.open <= 200
        for _, writer in silent:
            writer.transport.abort()
        await until(lambda: server.open == 0)


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving() as server, wire(server) as client:
        await client.send(GET * 3 + SLOW + GET)
        for _ in range(3):
            assert (await client.answer()).startswith(b"HTTP/1.1 200")
        server.go.set()
        for _ in range(2):
            assert (await client.answer()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nA b: c\r\n\r\n",
    ],
    ids=[
        "TLS",
        "no path",
        "two lengths",
        "negative length",
        "length and chunks",
        "bad URL",
        "version",
        "name",
    ],
)
async def test_what_is_no_http_is_a_400_like_every_other_error(nonsense: bytes) -> None:
    async with serving() as server, wire(server) as client:
        await client.send(nonsense)
        assert error(await client.until_closed()) == ("400", "malformed_request")
        assert server.refused("malformed_request") == 1


async def test_answer_that_nobody_reads_does_not_keep_a_closed_connection() -> None:
    async with serving(head_timeout_ms=50) as server, wire(server) as client:
        await client.send(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await until(lambda: server.open == 1)
        await until(lambda: server.open == 0)


@pytest.mark.parametrize(("files", "most"), [(100, 36), (30, 1)])
def test_more_connections_than_files_are_never_allowed(
    monkeypatch: pytest.MonkeyPatch, files: int, most: int
) -> None:
    monkeypatch.setattr(limiter, "_files_allowed", lambda: files)
    assert limiter.FILES_KEPT_FREE == 64
    assert limiter.ConnectionLimiter(Settings(max_connections=1_000), Metrics())._most == most


@pytest.mark.parametrize(("trusted", "client"), [("127.0.0.0/8", "203.0.113.7"), ("", "127.0.0.1")])
async def test_forwarded_address_is_believed_of_trusted_proxies_only(trusted: str, client: str) -> None:
    async with serving(trusted_proxies=trusted) as server, wire(server) as proxy:
        await proxy.send(b"GET /quick HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n")
        await proxy.answer()
    assert server.clients == [client]


async def test_client_that_sends_all_of_a_refused_body_before_it_reads_gets_its_answer() -> None:
    async with serving() as server, wire(server) as client:
        await client.send(REFUSED)
        await client.send(b"x" * LARGE)
        assert (await client.until_closed()).endswith(b"\r\n\r\nok")
        client.writer.close()
        await until(lambda: server.open == 0)
        assert LARGE - 16 * 1024 <= server.discarded <= LARGE


async def test_client_learns_the_end_of_a_refusal_before_it_has_sent_all() -> None:
    async with serving() as server, wire(server) as client:
        await client.send(REFUSED + b"x" * 1_000)
        assert (await client.until_closed()).endswith(b"\r\n\r\nok")
        assert server.open == 1
        await client.send(b"x" * 1_000)
        client.writer.write_eof()
        await until(lambda: server.open == 0)


async def test_refused_body_that_has_come_whole_ends_at_once() -> None:
    async with serving() as server, wire(server) as client:
        await client.send(b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nxxx")
        assert (await client.until_closed()).endswith(b"\r\n\r\nok")
        await until(lambda: server.open == 0)
        assert server.discarded == 0


async def test_what_comes_in_or_after_a_refused_body_is_not_answered() -> None:
    async with serving() as server, wire(server) as client:
        await client.send(REFUSED)
        assert (await client.until_closed()).endswith(b"\r\n\r\nok")
        await client.send(b"x" * LARGE + GET * 3)
        client.writer.write_eof()
        await until(lambda: server.open == 0)
        assert len(server.clients) == 1


async def test_refused_body_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering_close, "LINGER_BYTES", LARGE)
    async with serving() as server, wire(server) as client:
        await client.send(REFUSED)
        with pytest.raises(ConnectionError):
            await client.send_without_end()
        await until(lambda: server.open == 0)
        assert server.discarded < LARGE + 1_000_000


async def test_refused_body_is_cut_where_no_descriptor_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_socket: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async with serving() as server, wire(server) as client:
        await until(lambda: bool(server.limiter._waiting))
        (connection,) = server.limiter._waiting
        monkeypatch.setattr(type(connection.transport.get_extra_info("socket")), "dup", none_left)
        await client.send(REFUSED)
        await until(lambda: server.open == 0)
        assert server.discarded == 0


async def test_refused_body_that_dawdles_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiter, "LINGER_S", 0.05)
    async with serving() as server, wire(server) as client:
        await client.send(REFUSED)
        await client.until_closed()
        await until(lambda: server.open == 0)


async def test_one_that_is_on_its_way_out_gives_way_before_one_that_is_answered() -> None:
    async with serving(max_connections=2) as server, wire(server) as first, wire(server) as second:
        await first.send(SLOW)
        await until(lambda: len(server.clients) == 1)
        await second.send(REFUSED)
        await second.until_closed()
        async with wire(server) as third:
            await third.send(GET)
            await third.answer()
            server.go.set()
            assert (await first.answer()).startswith(b"HTTP/1.1 200")
            assert server.refused("connection_displaced") == 1


async def test_end_of_the_service_leaves_a_refused_client_time_to_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving())
        async with wire(server) as client:
            await client.send(REFUSED)
            await until(lambda: bool(server.limiter._lingering))
            with caplog.at_level("INFO", "uvicorn.error"):
                ending = asyncio.create_task(stack.aclose())
                await until(lambda: "Shutting down" in caplog.text)
            await client.send(b"x" * LARGE)
            assert (await client.until_closed()).endswith(b"\r\n\r\nok")
            client.writer.close()
            await ending


async def test_body_is_not_read_before_it_is_asked_for() -> None:
    async with serving() as server, wire(server) as client:
        await client.send(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % LARGE)
        client.writer.write(b"x" * LARGE)
        await until(lambda: bool(server.limiter._busy))
        (connection,) = server.limiter._busy
        assert connection.flow.read_paused
        assert len(connection.cycle.body) <= 16 * 1024


async def test_client_that_asks_before_it_sends_is_told_to_go_on_at_once() -> None:
    async with serving() as server, wire(server) as client:
        await client.send(READ.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        async with asyncio.timeout(PATIENCE_S):
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"0\r\n\r\n")
        assert (await client.answer()).startswith(b"HTTP/1.1 200")


async def test_answer_without_a_body_goes_out() -> None:
    async with serving() as server, wire(server) as client:
        await client.send(GET.replace(b"GET", b"HEAD") + GET)
        assert (await client.answer()).count(b"HTTP/1.1 200") == 2


class Written:
    """A transport that keeps what each call wrote."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.pieces.append(data)

    def writelines(self, pieces: list[bytes]) -> None:
        self.pieces.append(b"".join(pieces))

    def is_closing(self) -> bool:
        return False


def test_head_goes_out_with_what_follows_it() -> None:
    written, cycle = Written(), SimpleNamespace(scope={"method": "GET"}, response_started=True)
    transport = ResponseTransport(written, cycle, lambda: None)  # type: ignore[arg-type]
    for piece in (b"head", b"body", b"more"):
        transport.write(piece)
    assert written.pieces == [b"headbody", b"more"]


def test_head_of_an_answer_that_breaks_off_goes_out() -> None:
    written, cycle = Written(), SimpleNamespace(scope={"method": "GET"}, response_started=True)
    transport = ResponseTransport(written, cycle, lambda: None)  # type: ignore[arg-type]
    transport.write(b"head")
    transport.close()
    assert written.pieces == [b"head"]
