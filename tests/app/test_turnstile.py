"""Requests without a place are answered at their heads as the layers would answer them, and only these."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from fastapi import FastAPI

from app.access import address_of
from app.connections import Connection
from app.house import House
from app.main import create_app
from app.server import Server
from app.settings import Settings
from tests.app.served import opened
from tests.conftest import until

PATIENCE_S = 10
KEY = "one"
LARGE = 3_000_000  # bytes of a body, more than the sockets' buffers hold


def post(path: str = "/v1/matte", size: int = LARGE, *more: str) -> bytes:
    """The head of a request, without its body."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: image/png", f"Content-Length: {size}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


@dataclass
class Full:
    """A service whose places are taken from 127.0.0.1 by requests whose bodies do not come."""

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
async def full(places: int = 1, **chosen: object) -> AsyncIterator[Full]:
    settings = Settings(max_queue=places, **chosen)  # type: ignore[arg-type]
    app = create_app(settings, predict=lambda batch: batch[..., 0] / 255)
    server = Server(app, House(settings, app.state.metrics, app.state.turnstile), settings)
    async with opened(server) as port:
        await until(app.state.loading.done)
        holders = [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(places)]
        for each in holders:
            each.write(post("/v1/matte", LARGE, f"X-Api-Key: {KEY}"))
        house = Full(app, port)
        await until(lambda: house.count("matte_inflight") == places)
        try:
            yield house
        finally:
            for each in holders:
                each.transport.abort()


def told(answer: bytes) -> tuple[str, dict[str, str], dict[str, object]]:
    """Status line, headers and body; without what differs from answer to answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(sorted(line.lower().split(": ", 1) for line in lines))
    content = json.loads(body)
    assert headers["content-length"] == str(len(body))
    assert headers.pop("x-request-id") == content.pop("request_id")
    assert headers.pop("date")
    return status, headers, content


async def test_answer_is_the_one_that_the_layers_give() -> None:
    async with full() as quick, full(trusted_proxies="10.0.0.1") as layered:
        assert quick.app.state.turnstile
        assert layered.app.state.turnstile is None
        answers = [await each.ask(post()) for each in (quick, layered)]
    assert answers[0].startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert told(answers[0]) == told(answers[1])


async def test_it_is_counted_and_logged_under_the_clients_own_id(caplog: pytest.LogCaptureFixture) -> None:
    async with full() as house:
        with caplog.at_level(logging.INFO, "app.access"):
            answer = await house.ask(post("/v1/cutout", LARGE, "X-Request-ID: mine"))
        assert b"x-request-id: mine\r\n" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["request_id"] == "mine"
        assert house.count("matte_requests_total", route="/v1/cutout", status="429") == 1
        assert house.count("matte_errors_total", code="rate_limit_exceeded") == 1
        assert house.count("matte_rejected_total", reason="queue_full") == 1
        assert house.count("matte_inflight") == 1
    (record,) = caplog.records
    facts = {name: vars(record)[name] for name in ("method", "route", "status", "error", "bytes_in")}
    assert facts == {
        "method": "POST",
        "route": "/v1/cutout",
        "status": 429,
        "error": "rate_limit_exceeded",
        "bytes_in": 0,
    }


async def test_ids_are_each_requests_own() -> None:
    given = ["a", "b", "0" * 32, "x" * 64]
    async with full() as house:
        answers = [await house.ask(post("/v1/matte", LARGE, f"X-Request-ID: {each}")) for each in given]
        own = [
            json.loads((await house.ask(post())).partition(b"\r\n\r\n")[2])["request_id"] for _ in range(3)
        ]
    for identity, answer in zip(given, answers, strict=True):
        assert f"x-request-id: {identity}\r\n".encode() in answer
        told(answer)
    assert len({*own, *given}) == 7
    assert {len(each) for each in own} == {32}


async def test_whole_crowd_is_refused_before_connections_are_made_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with full() as house:
        made: list[object] = []
        monkeypatch.setattr(Connection, "connection_made", lambda self, _transport: made.append(self))
        crowd = [socket.create_connection(("127.0.0.1", house.port)) for _ in range(20)]
        for each in crowd:  # Without a turn of the loop: the server finds them all at once.
            each.sendall(post("/v1/matte", 3) + b"abc")
        await until(lambda: house.count("matte_rejected_total", reason="queue_full") == 20)
        for each in crowd:
            each.settimeout(PATIENCE_S)
            assert each.recv(100).startswith(b"HTTP/1.1 429 ")
            each.close()
        await until(lambda: house.count("matte_connections") == 1)
        assert made == []
        assert house.count("matte_discarded_bytes_total") == 20 * len(post("/v1/matte", 3) + b"abc")


@pytest.mark.parametrize(
    "behind", [b"", b"POST /v1/matte HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" * 3]
)
async def test_rest_of_the_body_is_thrown_away_and_nothing_after_it_answered(behind: bytes) -> None:
    async with full() as house:
        answer = await house.ask(post(), bytes(LARGE), behind, ended=True)
        assert answer.count(b"HTTP/1.1") == 1
        await until(lambda: house.count("matte_connections") == 1)
        assert house.count("matte_discarded_bytes_total") >= LARGE - 16 * 1024


async def test_second_request_in_the_same_piece_is_not_answered() -> None:
    async with full() as house:
        answer = await house.ask((post("/v1/matte", 3) + b"abc") * 3, ended=True)
        assert answer.count(b"HTTP/1.1") == 1
        assert house.count("matte_rejected_total", reason="queue_full") == 1
        await until(lambda: house.count("matte_connections") == 1)


async def test_request_behind_one_that_is_being_answered_waits_for_its_turn() -> None:
    async with full() as house:
        get = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        answer = await house.ask(get + post("/v1/matte", 3) + b"abc")
    assert [answer.index(b"HTTP/1.1 200"), answer.count(b"HTTP/1.1 429")] == [0, 1]


async def test_network_of_an_ipv6_address_is_one_client() -> None:
    turnstile = create_app(Settings(max_queue=2), predict=lambda batch: batch).state.turnstile
    first, second, other = ({"client": (f"2001:db8:0:{each}", 4711)} for each in ("1::7", "1::8", "2::7"))
    async with turnstile._places.take(address_of(first)), turnstile._places.take(address_of(first)):
        assert turnstile.may_refuse(second)
        assert not turnstile.may_refuse(other)


async def test_what_needs_no_place_is_let_in() -> None:
    async with full() as house:
        for path in ("/healthz", "/readyz", "/v1/models"):
            answer = await house.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 200")
        answer = await house.ask(b"GET /v1/matte HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 405")


async def test_another_address_gets_a_place_of_who_has_more() -> None:
    async with full(places=2) as house:
        assert (await house.ask(post())).startswith(b"HTTP/1.1 429")
        head = post("/v1/matte", 3, "Connection: close")
        answer = await house.ask(head, b"abc", source="127.0.0.2")
    assert answer.startswith(b"HTTP/1.1 415")  # It was inside, and is no photo.


async def test_client_that_asks_before_it_sends_gets_only_the_refusal() -> None:
    async with full() as house:
        answer = await house.ask(post("/v1/matte", LARGE, "Expect: 100-continue"))
    assert answer.startswith(b"HTTP/1.1 429")


async def test_who_has_no_key_is_told_of_that_first() -> None:
    async with full(api_keys=[KEY]) as house:
        assert (await house.ask(post("/v1/matte", 3), b"abc")).startswith(b"HTTP/1.1 401")


async def test_service_that_is_not_ready_says_so() -> None:
    async with full() as house:
        house.app.state.pipeline.drain()
        assert (await house.ask(post("/v1/matte", 3), b"abc")).startswith(b"HTTP/1.1 503")


@pytest.mark.parametrize(
    "chosen",
    [
        {"rate_per_minute": 5},
        {"trusted_proxies": "10.0.0.1"},
        {"cors_origins": "https://shop.example"},
    ],
)
def test_where_more_than_an_address_decides_there_is_none(chosen: dict[str, object]) -> None:
    assert create_app(Settings(**chosen), predict=lambda batch: batch).state.turnstile is None  # type: ignore[arg-type]
