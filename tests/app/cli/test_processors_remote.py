"""`matte` and `cutout` by a running service."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import httpx
import pytest

from app.__main__ import cli
from app.cli import processors
from app.client import AsyncClient, RetryPolicy
from app.main import create_app
from app.settings import Settings
from tests.app.client.test_responses import HEADERS, MODEL
from tests.support.images import pixels, plain, png
from tests.support.networks import mean_colour
from tests.support.socket_servers import served

URL = "http://matte"


class Service:
    """Stands in for the network: ready, one model, and `turns` for the photos; after them each is done."""

    def __init__(self) -> None:
        self.ready: list[int | type[Exception]] = []
        self.turns: list[int | type[Exception]] = []
        self.models = [MODEL]
        self.posts: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            if self.ready:
                return self._failure(self.ready.pop(0), request)
            if request.url.path == "/readyz":
                return httpx.Response(200, json={"status": "ready"})
            return httpx.Response(200, json={"models": self.models})
        self.posts.append(request)
        if self.turns:
            return self._failure(self.turns.pop(0), request)
        return httpx.Response(200, headers=HEADERS, content=b"made")

    def _failure(self, turn: int | type[Exception], request: httpx.Request) -> httpx.Response:
        if not isinstance(turn, int):
            raise turn("broken", request=request)
        error = {"title": "T", "code": "c", "detail": f"It is {turn}."}
        body = {"errors": [error], "request_id": "abc"}
        return httpx.Response(turn, json=body, headers={"Retry-After": "0"})


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service()
    client = partial(AsyncClient, transport=httpx.MockTransport(made))
    monkeypatch.setattr(processors, "AsyncClient", client)
    monkeypatch.setattr(processors, "RETRIES", RetryPolicy(attempts=3, deadline_s=300, first_pause_s=0))
    return made


@pytest.fixture
def send(runner, folder, tmp_path) -> Callable[..., object]:
    """The command with its arguments, on three photos."""
    out = str(tmp_path / "out")
    return lambda command, *more: runner.invoke(cli, [command, str(folder), "-o", out, "--url", URL, *more])


def test_photos_are_sent_and_results_written(service, send, tmp_path):
    result = send("matte", "--quality", "high", "--subject", "main", "--api-key", "k")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "inner" / "c.png").read_bytes() == b"made"
    assert "3/3" in result.output
    assert sorted(b"a.jpg" in post.content for post in service.posts) == [False, False, True]
    for post in service.posts:
        assert post.url.path == "/v1/matte"
        assert post.headers["x-api-key"] == "k"
        assert b'name="quality"\r\n\r\nhigh' in post.content
        assert b'name="subject"\r\n\r\nmain' in post.content
        assert b'name="format"' not in post.content


def test_cutout_sends_every_option(service, send):
    options = {
        "--format": "webp",
        "--background": "red",
        "--margin": "10%",
        "--size": "2",
        "--shadow": "5",
        "--color": "srgb",
        "--quality": "high",
        "--subject": "main",
    }
    result = send("cutout", "--crop", *(word for pair in options.items() for word in pair))
    assert result.exit_code == 0, result.output
    for post in service.posts:
        assert post.url.path == "/v1/cutout"
        for name, value in {**options, "--crop": "true"}.items():
            assert f'name="{name[2:]}"\r\n\r\n{value}\r\n'.encode() in post.content
        assert b'name="blur"' not in post.content


def test_service_that_is_busy_or_away_for_a_moment_is_waited_for(service, send, monkeypatch):
    # Photos are sent at once, and one of them may meet with all four.
    monkeypatch.setattr(processors, "RETRIES", RetryPolicy(attempts=5, deadline_s=300, first_pause_s=0))
    service.turns = [429, 503, httpx.ConnectError, httpx.ReadError]
    result = send("matte")
    assert result.exit_code == 0, result.output
    assert len(service.posts) == 7
    assert result.output.count("trying again for 300 s at most") == 1


def test_full_service_is_nothing_to_tell_of(service, send):
    service.turns = [429, 429]
    assert "trying again" not in send("matte").output


def test_service_that_stays_away_ends_the_work(service, send):
    service.turns = [httpx.ConnectError] * 50
    result = send("matte", "--concurrency", "1")
    assert result.exit_code == 1
    assert "given up: http://matte/v1/matte: broken." in result.output
    assert len(service.posts) == 3


@pytest.mark.parametrize("status", [401, 422])
def test_what_is_wrong_for_one_photo_is_wrong_for_all(service, send, status):
    service.turns = [status] * 50
    result = send("matte", "--concurrency", "1")
    assert result.exit_code == 1
    assert f"given up: It is {status}." in result.output
    assert len(service.posts) == 1


@pytest.mark.parametrize("turn", [400, 504, httpx.ReadTimeout])
def test_what_is_wrong_with_one_photo_is_its_own_failure(service, send, turn):
    service.turns = [turn]
    result = send("matte")
    assert result.exit_code == 1
    assert "1 of 3 failed" in result.output
    assert "2 written" in result.output


def test_address_where_nobody_answers_is_told_before_a_photo_is_sent(service, send):
    service.ready = [httpx.ConnectError]
    result = send("matte")
    assert result.exit_code == 1
    assert result.output == "http://matte/readyz: broken.\n"
    assert not service.posts


def test_service_that_loads_is_waited_for(service, send):
    service.ready = [503, 503]
    result = send("matte")
    assert result.exit_code == 0
    assert "It is 503. (503) … trying again" in result.output


def test_missing_key_is_told_with_where_it_comes_from(service, send):
    service.ready = [401]
    result = send("matte")
    assert result.exit_code == 1
    assert "It is 401." in result.output
    assert "U2MATTE_API_KEY" in result.output


def test_address_of_something_else_is_told(service, send):
    service.ready = [404]
    result = send("matte")
    assert result.exit_code == 1
    assert "no u2matte of this version answers there" in result.output


def test_what_is_no_address_is_told(runner, folder, tmp_path):
    out = str(tmp_path / "out")
    result = runner.invoke(cli, ["matte", str(folder), "-o", out, "--url", "localhost:8000"])
    assert result.exit_code == 1
    assert "no address of a service" in result.output


def test_another_model_of_the_service_makes_all_anew(service, send):
    send("matte")
    assert "3 skipped" in send("matte").output
    service.models = [MODEL | {"version": "4"}]
    assert "3 written" in send("matte").output


def test_real_service_does_photos_that_are_sent_a_few_at_once(runner, tmp_path):
    values = range(0, 250, 25)
    (tmp_path / "photos").mkdir()
    for value in values:
        (tmp_path / "photos" / f"{value}.png").write_bytes(png(plain(value)))
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"no photo")
    arguments = ["matte", str(tmp_path / "photos"), "-o", str(tmp_path / "out"), "--concurrency", "4"]
    settings = Settings(api_keys=("k",), cpu_threads=1)  # type: ignore[arg-type]
    with served(create_app(settings, mean_colour)) as address:
        result = runner.invoke(cli, [*arguments, "--url", address], env={"U2MATTE_API_KEY": "k"})
    assert result.exit_code == 1, result.output
    assert "1 of 11 failed" in result.output
    assert "10 written" in result.output
    for value in values:
        assert abs(int(pixels((tmp_path / "out" / f"{value}.png").read_bytes()).mean()) - value) <= 1
