"""Both clients, against a stand-in for the network and against a real socket."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.client import (
    Answer,
    AsyncClient,
    Busy,
    CallError,
    Client,
    Disconnected,
    Refused,
    RetryPolicy,
    TimedOut,
    Unexpected,
)
from tests.app.client.test_responses import HEADERS, MODEL
from tests.support.socket_servers import served

AT_ONCE = RetryPolicy(attempts=3, first_pause_s=0)

Handler = Callable[[httpx.Request], httpx.Response]


class Caller:
    """The same calls through either client."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.told: list[CallError] = []

    def __call__(self, handler: Handler, method: str, *photo: Any, **options: Any) -> Any:
        settings: dict[str, Any] = {
            "api_key": "k",
            "retry": AT_ONCE,
            "on_retry": lambda problem, _pause_s: self.told.append(problem),
            "transport": httpx.MockTransport(handler),
        }
        if self.kind == "sync":
            with Client("http://matte/below", **settings) as client:
                return getattr(client, method)(*photo, **options)

        async def ask() -> Any:
            async with AsyncClient("http://matte/below", **settings) as client:
                return await getattr(client, method)(*photo, **options)

        return asyncio.run(ask())


@pytest.fixture(params=["sync", "async"])
def call(request) -> Caller:
    return Caller(request.param)


class Service:
    """Answers in turn: with a response, with a status alone, or not at all. Keeps the requests."""

    def __init__(self, *turns: httpx.Response | int | type[Exception]) -> None:
        self._turns: Iterator[httpx.Response | int | type[Exception]] = iter(turns)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        turn = next(self._turns)
        if isinstance(turn, int):
            return httpx.Response(turn, headers={"Retry-After": "0"})
        if isinstance(turn, httpx.Response):
            return turn
        raise turn("broken", request=request)


def good() -> httpx.Response:
    return httpx.Response(200, headers=HEADERS, content=b"png")


def test_photo_goes_out_and_its_matte_comes_back(call):
    service = Service(good())
    answer = call(service, "matte", io.BytesIO(b"photo"), quality="high", subject="main")
    assert isinstance(answer, Answer)
    assert answer.data == b"png"
    (request,) = service.requests
    assert str(request.url) == "http://matte/below/v1/matte"
    assert request.headers["x-api-key"] == "k"
    assert b"photo" in request.content
    assert b'name="quality"\r\n\r\nhigh' in request.content
    assert b'name="subject"\r\n\r\nmain' in request.content


def test_cutout_takes_every_option(call):
    service = Service(good())
    options = {
        "format": "jpg",
        "blur": 3,
        "crop": True,
        "margin": "5%",
        "size": 1,
        "shadow": 9,
        "quality": "standard",
        "subject": "main",
    }
    call(service, "cutout", b"photo", background=b"beach", **options)
    (request,) = service.requests
    assert request.url.path == "/below/v1/cutout"
    body = request.content
    assert b'name="background"; filename="background"' in body
    assert b"beach" in body
    for name, text in {**options, "crop": "true"}.items():
        assert f'name="{name}"\r\n\r\n{text}\r\n'.encode() in body


@pytest.mark.parametrize("passing", [429, 503, httpx.ConnectError, httpx.ReadError])
def test_what_passes_is_tried_again_with_the_whole_photo(call, passing):
    service = Service(passing, passing, good())
    assert call(service, "matte", io.BytesIO(b"photo")).data == b"png"
    assert [b"photo" in request.content for request in service.requests] == [True] * 3
    assert len(call.told) == 2


def test_attempts_end(call):
    service = Service(*[httpx.ConnectError] * 4)
    with pytest.raises(Disconnected):
        call(service, "matte", b"photo")
    assert len(service.requests) == 3
    service = Service(*[503] * 4)
    with pytest.raises(Busy):
        call(service, "matte", b"photo")
    assert len(service.requests) == 3


@pytest.mark.parametrize(
    ("turn", "kind"),
    [
        (400, Refused),
        (500, Refused),
        (504, Refused),
        (200, Unexpected),
        (httpx.ReadTimeout, TimedOut),
    ],
)
def test_what_does_not_pass_is_told_at_once(call, turn, kind):
    service = Service(turn)
    with pytest.raises(kind):
        call(service, "matte", b"photo")
    assert len(service.requests) == 1


class BrokenOff(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        yield b"half"
        raise httpx.ReadError("reset")

    async def __aiter__(self):
        yield b"half"
        raise httpx.ReadError("reset")


def test_answer_that_breaks_off_is_not_asked_for_again(call):
    service = Service(httpx.Response(200, headers=HEADERS, stream=BrokenOff()))
    with pytest.raises(Disconnected) as caught:
        call(service, "matte", b"photo")
    assert not caught.value.again
    assert len(service.requests) == 1


def test_attempt_may_not_outlast_the_deadline(call):
    service = Service(good())
    call(service, "matte", b"photo")
    timeout = service.requests[0].extensions["timeout"]
    assert timeout["read"] == 75
    assert timeout["connect"] == 5
    assert 75 < timeout["pool"] <= 120


def test_models_are_listed(call):
    service = Service(503, httpx.Response(200, json={"models": [MODEL]}))
    assert [model.name for model in call(service, "models")] == ["portrait"]


def test_ready_is_asked_once(call):
    assert call(Service(httpx.Response(200, json={"status": "ready"})), "ready")
    assert call(Service(503), "ready") is False
    with pytest.raises(Disconnected):
        call(Service(httpx.ConnectError), "ready")


async def cutout_route(request: Request) -> Response:
    """Gives back the photo, and full before the first time."""
    async with request.form() as form:
        wanted, photo = form["format"], await form["image"].read()  # type: ignore[union-attr]
    refusals: list[int] = request.app.state.refusals
    if refusals:
        return Response(status_code=refusals.pop(), headers={"Retry-After": "0"})
    if wanted == "png":
        error = {"title": "T", "code": "c", "detail": "D"}
        return JSONResponse({"errors": [error], "request_id": "abc"}, 422)
    return Response(photo, headers=HEADERS)


@pytest.fixture
def address() -> Iterator[str]:
    app = Starlette(routes=[Route("/v1/cutout", cutout_route, methods=["POST"])])
    app.state.refusals = [429, 503]
    with served(app) as url:
        yield url


def test_one_client_serves_many_threads_over_a_real_connection(address):
    photos = [bytes([number]) * 200_000 for number in range(8)]
    with (
        Client(address, retry=RetryPolicy(first_pause_s=0), connections=3) as client,
        ThreadPoolExecutor(4) as pool,
    ):
        answers = list(pool.map(lambda photo: client.cutout(photo, format="webp"), photos))
        with pytest.raises(Refused) as caught:
            client.cutout(b"photo", format="png")
    assert [answer.data for answer in answers] == photos
    assert (caught.value.status, caught.value.code, caught.value.detail) == (422, "c", "D")


async def test_many_tasks_share_one_client_over_a_real_connection(address):
    photos = [bytes([number]) * 200_000 for number in range(8)]
    async with AsyncClient(address, retry=RetryPolicy(first_pause_s=0), connections=3) as client:
        answers = await asyncio.gather(*(client.cutout(photo, format="webp") for photo in photos))
    assert [answer.data for answer in answers] == photos


def test_nobody_listening_is_told_with_the_address():
    with (
        Client("http://127.0.0.1:1", retry=RetryPolicy(attempts=1)) as client,
        pytest.raises(Disconnected, match=r"http://127\.0\.0\.1:1/v1/models"),
    ):
        client.models()


def test_client_needs_nothing_heavy():
    program = (
        "import sys, app.client\n"
        "heavy = {'tensorflow', 'numpy', 'cv2', 'fastapi', 'starlette', 'pydantic', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
