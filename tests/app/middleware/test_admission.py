from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import Message

from tests.support.images import plain, png
from tests.support.networks import Gate
from tests.support.services import Running, Service, until

PHOTO = png(plain(50))


async def queue_up(service: Service, gate: Gate, count: int) -> list[asyncio.Task[object]]:
    """`count` posts inside: the first in the closed gate, the others in the queue."""
    posts = [asyncio.ensure_future(service.post(PHOTO))]
    await asyncio.to_thread(gate.entered.wait, 10)
    posts += [asyncio.ensure_future(service.post(PHOTO)) for _ in range(count - 1)]
    batcher = service.app.state.pipeline.models.default._batcher
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
        assert await service.metric('matte_rejected_total{reason="queue_full"}') == 1
        gate.opened.set()
        assert {post.status_code for post in await asyncio.gather(*posts)} == {200}
        assert (await service.post(PHOTO)).status_code == 200
        assert await service.metric("matte_inflight") == 0


async def test_passed_deadline_answers_504_and_frees_its_slot(running: Running, gate: Gate) -> None:
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
        assert service.app.state.pipeline.models.default._batcher.depth == 0
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
            await asyncio.sleep(0)  # a network that does not end: the service must stop listening

    async with running(max_upload_bytes=2000) as service:
        answer = await service.client.post("/v1/matte", content=body(), headers={"content-type": "image/png"})
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    assert given < 10_000


async def test_body_of_exactly_the_cap_is_accepted(running: Running) -> None:
    data = PHOTO + b"\0" * (2000 - len(PHOTO))
    async with running(max_upload_bytes=2000) as service:
        answer = await service.client.post("/v1/matte", content=data, headers={"content-type": "image/png"})
    assert answer.status_code == 200


def scope() -> dict[str, object]:
    return {
        "type": "http",
        "method": "POST",
        "path": "/v1/matte",
        "query_string": b"",
        "headers": [(b"content-type", b"image/png"), (b"content-length", str(len(PHOTO)).encode())],
    }


async def test_client_that_leaves_the_queue_is_in_no_batch(running: Running, gate: Gate) -> None:
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
        await until(lambda: service.app.state.pipeline.models.default._batcher.depth == 1)
        left.set()
        await leaving
        assert service.app.state.pipeline.models.default._batcher.depth == 0
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


async def test_many_requests_of_one_client_do_not_keep_another_client_out(
    running: Running, gate: Gate
) -> None:
    """The address stands for the client where there are no keys."""
    async with running(gate, max_queue=3, max_batch_size=1) as service:
        queued = await queue_up(service, gate, 3)
        assert (await service.post(PHOTO)).status_code == 429
        transport = httpx.ASGITransport(service.app, client=("203.0.113.7", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as other:
            answer = asyncio.ensure_future(other.post("/v1/matte", files={"image": PHOTO}))
            await until(queued[-1].done)
            gate.opened.set()
            assert (await answer).status_code == 200
        statuses = [post.status_code for post in await asyncio.gather(*queued)]
        assert statuses == [200, 200, 429]
        assert await service.metric('matte_rejected_total{reason="place_lost"}') == 1
        assert await service.metric("matte_inflight") == 0


@pytest.mark.parametrize(("size", "status"), [(1_800, 200), (2_100, 431)])
async def test_head_is_bounded(running: Running, size: int, status: int) -> None:
    async with running(max_head_bytes=2_000) as service:
        answer = await service.client.get("/healthz", headers={"X-Filler": "x" * size})
        assert answer.status_code == status
        if status == 431:
            assert answer.json()["errors"][0]["code"] == "head_too_large"
            assert await service.metric('matte_rejected_total{reason="head_too_large"}') == 1


async def test_answer_of_any_route_that_nobody_reads_ends_with_the_deadline(running: Running) -> None:
    async def nothing_comes() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def nobody_reads(_message: Message) -> None:
        await asyncio.Event().wait()

    async with running(request_timeout_ms=50) as service:
        scope = {"type": "http", "method": "GET", "path": "/healthz", "query_string": b"", "headers": []}
        async with asyncio.timeout(10):
            await service.app(scope, nothing_comes, nobody_reads)  # type: ignore[arg-type]
        assert await service.metric('matte_rejected_total{reason="deadline_passed"}') == 1
