"""What a full service answers over a socket, and what becomes of the bodies that it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from fastapi import FastAPI

from app.main import create_app
from app.server.connection_limits import ConnectionLimiter
from app.server.server import Server
from app.settings import Settings
from tests.support.services import until
from tests.support.socket_servers import opened

PATIENCE_S = 10
KEY = "one"
LARGE = 3_000_000  # bytes of a body, more than the sockets' buffers hold


def post(path: str = "/v1/matte", size: int = LARGE, *more: str) -> bytes:
    """The head of a request, without its body."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: image/png", f"Content-Length: {size}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


@dataclass
class Full:
    """A service whose request slots are taken from 127.0.0.1 by requests whose bodies do not come."""

    app: FastAPI
    port: int

    async def ask(self, *sent: bytes, source: str = "127.0.0.1", ended: bool = False) -> bytes:
        """All that is answered until the connection ends from that side."""
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))
            for each in sent:
                writer.write(each)
                await writer.drain()
            if ended:
                writer.write_eof()
            answer = await reader.read()
            writer.close()
        return answer

    def count(self, name: str, **labels: str) -> float:
        return self.app.state.metrics.registry.get_sample_value(name, labels) or 0


@asynccontextmanager
async def full(slots: int = 1, **chosen: object) -> AsyncIterator[Full]:
    settings = Settings(max_queue=slots, **chosen)  # type: ignore[arg-type]
    app = create_app(settings, predict=lambda batch: batch[..., 0] / 255)
    server = Server(app, ConnectionLimiter(settings, app.state.metrics), settings)
    async with opened(server) as port:
        await until(app.state.loading.done)
        holders = [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(slots)]
        for each in holders:
            each.write(post("/v1/matte", LARGE, f"X-Api-Key: {KEY}"))
        limiter = Full(app, port)
        await until(lambda: limiter.count("matte_inflight") == slots)
        try:
            yield limiter
        finally:
            for each in holders:
                each.transport.abort()


@pytest.mark.parametrize(
    "behind", [b"", b"POST /v1/matte HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" * 3]
)
async def test_rest_of_the_body_is_thrown_away_and_nothing_after_it_answered(behind: bytes) -> None:
    async with full() as limiter:
        answer = await limiter.ask(post(), bytes(LARGE), behind, ended=True)
        assert answer.count(b"HTTP/1.1") == 1
        await until(lambda: limiter.count("matte_connections") == 1)
        assert limiter.count("matte_discarded_bytes_total") >= LARGE - 16 * 1024


async def test_request_behind_one_that_is_being_answered_waits_for_its_turn() -> None:
    async with full() as limiter:
        get = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        answer = await limiter.ask(get + post("/v1/matte", 3) + b"abc")
    assert [answer.index(b"HTTP/1.1 200"), answer.count(b"HTTP/1.1 429")] == [0, 1]


async def test_what_needs_no_slot_is_let_in() -> None:
    async with full() as limiter:
        for path in ("/healthz", "/readyz", "/v1/models"):
            answer = await limiter.ask(
                f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
            )
            assert answer.startswith(b"HTTP/1.1 200")
        answer = await limiter.ask(b"GET /v1/matte HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 405")


async def test_another_address_gets_a_slot_of_who_has_more() -> None:
    async with full(slots=2) as limiter:
        assert (await limiter.ask(post())).startswith(b"HTTP/1.1 429")
        head = post("/v1/matte", 3, "Connection: close")
        answer = await limiter.ask(head, b"abc", source="127.0.0.2")
    assert answer.startswith(b"HTTP/1.1 415")  # It was inside, and is no photo.


async def test_client_that_asks_before_it_sends_gets_only_the_refusal() -> None:
    async with full() as limiter:
        answer = await limiter.ask(post("/v1/matte", LARGE, "Expect: 100-continue"))
    assert answer.startswith(b"HTTP/1.1 429")


async def test_who_has_no_key_is_told_of_that_first() -> None:
    async with full(api_keys=[KEY]) as limiter:
        assert (await limiter.ask(post("/v1/matte", 3), b"abc")).startswith(b"HTTP/1.1 401")


async def test_service_that_is_not_ready_says_so() -> None:
    async with full() as limiter:
        limiter.app.state.pipeline.drain()
        assert (await limiter.ask(post("/v1/matte", 3), b"abc")).startswith(b"HTTP/1.1 503")
