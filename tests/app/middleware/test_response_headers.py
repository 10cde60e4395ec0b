from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.middleware.admission import AdmissionMiddleware
from app.middleware.concurrency_limit import AdaptiveLimit, ConcurrencyLimiter
from app.middleware.response_headers import _CHUNK_BYTES as CHUNK
from app.middleware.response_headers import MeasuredExchange
from app.observability.metrics import Metrics
from app.settings import Settings

SCOPE: Scope = {"type": "http", "method": "POST", "path": "/v1/matte", "query_string": b"", "headers": []}
START: Message = {"type": "http.response.start", "status": 200, "headers": []}


async def receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7])
async def test_a_body_goes_out_in_pieces_and_whole(size: int) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    exchange = MeasuredExchange(SCOPE, receive, send)
    body = bytes(range(256)) * (size // 256 + 1)
    await exchange.send(dict(START))
    await exchange.send({"type": "http.response.body", "body": body[:size]})
    pieces = sent[1:]
    assert b"".join(piece["body"] for piece in pieces) == body[:size]
    assert len(pieces) == max(1, -(-size // CHUNK))
    assert all(len(piece["body"]) <= CHUNK for piece in pieces)
    assert [piece.get("more_body", False) for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    assert exchange.bytes_out == size


async def test_an_answer_that_nobody_reads_keeps_its_slot_until_its_deadline() -> None:
    metrics = Metrics()
    taken: list[int] = []
    waiting = asyncio.Event()

    async def answers(_scope: Scope, _receive: Receive, send: Send) -> None:
        exchange = MeasuredExchange(SCOPE, receive, send)
        await exchange.send(dict(START))
        await exchange.send({"type": "http.response.body", "body": b"x" * 10 * CHUNK})

    async def slow_client(message: Message) -> None:
        if message["type"] == "http.response.body":
            taken.append(len(message["body"]))
            waiting.set()
            await asyncio.Event().wait()

    settings, adaptive_limit = Settings(request_timeout_ms=100), AdaptiveLimit(64)
    admission = AdmissionMiddleware(
        answers,
        settings=settings,
        metrics=metrics,
        check_ready=lambda: None,
        adaptive_limit=adaptive_limit,
        limiter=ConcurrencyLimiter(adaptive_limit, settings.request_timeout_ms),
    )
    inside = asyncio.ensure_future(admission(SCOPE, receive, slow_client))
    await waiting.wait()
    assert metrics.registry.get_sample_value("matte_inflight") == 1
    await asyncio.wait({inside}, timeout=5)
    assert inside.done()
    assert type(inside.exception()).__name__ in ("DeadlinePassed", "BodyTooSlow")
    assert metrics.registry.get_sample_value("matte_inflight") == 0
    assert taken == [CHUNK]
