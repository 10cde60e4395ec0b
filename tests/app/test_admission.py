from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.types import Message

from app import exchange
from tests.conftest import Gate, Running, Service, until
from tests.portraits import plain, png

PHOTO = png(plain(50))


async def queue_up(service: Service, gate: Gate, count: int) -> list[asyncio.Task[object]]:
    """`count` posts inside: the first in the closed gate, the others in the queue."""
    posts = [asyncio.ensure_future(service.post(PHOTO))]
    await asyncio.to_thread(gate.entered.wait, 10)
    posts += [asyncio.ensure_future(service.post(PHOTO)) for _ in range(count - 1)]
    batcher = service.app.state.pipeline._batcher
    await until(lambda: batcher.depth == count - 1)
    return posts


async def test_full_queue_answers_429_before_reading_the_body(running: Running, gate: Gate) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b""
        pytest.fail("the body was read")

    async with running(gate, max_queue=3, max_batch_size=1) as service:
        posts = await queue_up(service, gate, 3)
        assert await service.metric("matte_inflight") == 3
        assert await service.metric("matte_queue_depth") == 2
        headers = {"content-type": "image/png", "expect": "100-continue"}
        answer = await service.client.post("/v1/matte", content=body(), headers=headers)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["connection"] == "close"
        assert answer.json()["errors"][0]["code"] == "rate_limit_exceeded"
        assert await service.metric('matte_rejected_total{reason="rate_limit_exceeded"}') == 1
        gate.opened.set()
        assert {post.status_code for post in await asyncio.gather(*posts)} == {200}
        assert (await service.post(PHOTO)).status_code == 200
        assert await service.metric("matte_inflight") == 0


async def test_passed_deadline_answers_504_and_frees_its_place(running: Running, gate: Gate) -> None:
    async with running(gate, request_timeout_ms=100, max_queue=1) as service:
        answer = await service.post(PHOTO)
        assert answer.status_code == 504
        assert answer.json()["errors"][0]["code"] == "deadline_passed"
        gate.opened.set()
        assert await service.metric("matte_inflight") == 0
        assert (await service.post(PHOTO)).status_code == 200


async def test_expired_request_never_reaches_the_network(running: Running, gate: Gate) -> None:
    async with running(gate, request_timeout_ms=200, max_batch_size=1, batch_wait_ms=0) as service:
        posts = await queue_up(service, gate, 4)
        assert {post.status_code for post in await asyncio.gather(*posts)} == {504}
        assert service.app.state.pipeline._batcher.depth == 0
        gate.opened.set()
        assert (await service.post(PHOTO)).status_code == 200
        # The one that was running, and the one that came afterwards.
        assert gate.sizes == [1, 1]


async def test_slow_body_answers_408(running: Running) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield PHOTO[:20]
        await asyncio.Event().wait()

    async with running(body_timeout_ms=50) as service:
        answer = await service.client.post("/v1/matte", content=body(), headers={"content-type": "image/png"})
        assert answer.status_code == 408
        assert await service.metric('matte_rejected_total{reason="body_too_slow"}') == 1


async def test_body_deadline_is_never_later_than_the_whole_one(running: Running) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield PHOTO[:20]
        await asyncio.Event().wait()

    async with running(request_timeout_ms=100) as service:
        answer = await service.client.post("/v1/matte", content=body(), headers={"content-type": "image/png"})
    assert answer.status_code == 408


async def test_announced_length_over_the_cap_is_refused_before_the_body(running: Running) -> None:
    async with running(max_upload_bytes=2000) as service:
        answer = await service.client.post(
            "/v1/matte", content=b"x" * 2001, headers={"content-type": "image/png"}
        )
    assert answer.status_code == 413
    assert answer.json()["errors"][0]["code"] == "file_too_large"


async def test_chunked_upload_is_cut_off_at_the_cap(running: Running) -> None:
    given = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal given
        while given < 100_000_000:
            given += 1000
            yield b"x" * 1000
            await asyncio.sleep(0.001)  # a network that does not end: the service must stop listening

    async with running(max_upload_bytes=2000) as service:
        answer = await service.client.post("/v1/matte", content=body(), headers={"content-type": "image/png"})
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    assert given < 2_000_000


async def test_body_of_exactly_the_cap_is_accepted(running: Running) -> None:
    data = PHOTO + b"\0" * (2000 - len(PHOTO))
    async with running(max_upload_bytes=2000) as service:
        answer = await service.client.post("/v1/matte", content=data, headers={"content-type": "image/png"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"X-Api-Key": "wrong"}, 401),
        ({"X-Api-Key": ""}, 401),
        ({"X-Api-Key": "two2"}, 401),
        ({"Authorization": "Basic two"}, 401),
        ({"X-Api-Key": "one"}, 200),
        ({"X-Api-Key": "two"}, 200),
        ({"Authorization": "Bearer two"}, 200),
    ],
)
async def test_key_is_needed_where_keys_are_set(
    running: Running, headers: dict[str, str], status: int
) -> None:
    async with running(api_keys="one,two") as service:
        assert (await service.post(PHOTO, headers=headers)).status_code == status
        assert (await service.client.get("/v1/models", headers=headers)).status_code == status


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/docs"])
async def test_health_and_metrics_need_no_key(running: Running, path: str) -> None:
    async with running(api_keys="one") as service:
        assert (await service.client.get(path)).status_code == 200


def scope() -> dict[str, object]:
    return {
        "type": "http",
        "method": "POST",
        "path": "/v1/matte",
        "query_string": b"",
        "headers": [(b"content-type", b"image/png"), (b"content-length", str(len(PHOTO)).encode())],
    }


async def test_client_that_leaves_the_queue_costs_no_place_in_a_batch(running: Running, gate: Gate) -> None:
    left = asyncio.Event()
    sent: list[Message] = []
    incoming = [{"type": "http.request", "body": PHOTO, "more_body": False}]

    async def receive() -> Message:
        if incoming:
            return incoming.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async with running(gate, max_batch_size=1) as service:
        (post,) = await queue_up(service, gate, 1)
        leaving = asyncio.ensure_future(service.app(scope(), receive, send))
        await until(lambda: service.app.state.pipeline._batcher.depth == 1)
        left.set()
        await leaving
        assert service.app.state.pipeline._batcher.depth == 0
        gate.opened.set()
        assert (await post).status_code == 200
        assert gate.sizes == [1]
        assert await service.metric('matte_requests_total{route="/v1/matte",status="499"}') == 1


async def test_client_that_leaves_during_the_upload_is_counted_as_gone(running: Running) -> None:
    incoming: list[Message] = [
        {"type": "http.disconnect"},
        {"type": "http.request", "body": PHOTO[:9], "more_body": True},
    ]

    async def receive() -> Message:
        return incoming.pop()

    async def send(message: Message) -> None:
        pass

    async with running() as service:
        await service.app(scope(), receive, send)
        assert await service.metric('matte_requests_total{route="/v1/matte",status="499"}') == 1


async def test_refused_upload_is_read_away_for_a_limited_time(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "_LINGER_S", 0.01)

    async def body() -> AsyncIterator[bytes]:
        yield b"x" * 3000
        await asyncio.Event().wait()

    async with running(max_upload_bytes=2000) as service:
        answer = await service.client.post("/v1/matte", content=body(), headers={"content-type": "image/png"})
    assert answer.status_code == 413
