"""Under which paths the service is reached: with a slash at the end, below a proxy's path, by HEAD."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from pydantic import ValidationError
from starlette.routing import Route

from app import main
from app.api import rembg, removebg
from app.main import create_app
from app.middleware.admission import GUARDED
from app.middleware.paths import PREFIX, PathMiddleware, prefix_of
from app.server.connection_limits import ConnectionLimiter
from app.server.server import Server
from app.settings import Settings
from tests.support.images import png
from tests.support.networks import Gate
from tests.support.person_image import finds_standing, standing
from tests.support.services import Running, until
from tests.support.socket_servers import opened

PHOTO = png(standing())
FIELDS = {removebg.PATH: "image_file", rembg.PATH: "file"}
HEAD_TOO = [
    "/healthz",
    "/readyz",
    "/",
    "/metrics",
    "/v1/models",
    "/v1.0/account",
    "/openapi.json",
    "/docs",
    "/api",
]
BROWSER = {"Accept": "text/html"}


def photo_for(path: str) -> dict[str, bytes]:
    return {FIELDS.get(path, "image"): PHOTO}


@asynccontextmanager
async def reached(**chosen: object) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the whole service over its own server, as it is started."""
    settings = Settings(**chosen)  # type: ignore[arg-type]
    app = create_app(settings, finds_standing)
    server = Server(app, ConnectionLimiter(settings, app.state.metrics), settings)
    async with opened(server) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        await app.state.loading
        yield client


@pytest.mark.parametrize("path", HEAD_TOO)
async def test_head_says_what_get_would_send_without_its_body(path: str) -> None:
    async with reached(ui=path != "/") as client:
        got, head = await client.get(path), await client.head(path)
        assert (got.status_code, head.status_code, head.content) == (200, 200, b"")
        assert head.headers["content-type"] == got.headers["content-type"]
        if path != "/metrics":  # which tells of the request before
            assert head.headers["content-length"] == got.headers["content-length"]


async def test_head_of_the_page_and_of_what_is_not_ready() -> None:
    async with reached() as client:
        assert (await client.head("/", headers=BROWSER)).headers["content-type"].startswith("text/html")
        assert (await client.head("/nothing")).status_code == 404
        assert (await client.head("/v1/matte")).status_code == 405


async def test_head_of_a_service_that_is_not_ready_is_a_503() -> None:
    app = create_app(Settings(), finds_standing)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        assert (await client.head("/readyz")).status_code == 503
        assert (await client.head("/healthz")).status_code == 200


@pytest.mark.parametrize("path", sorted(GUARDED))
async def test_post_with_a_slash_at_its_end_is_served_where_it_is(path: str) -> None:
    async with reached() as client:
        plain = await client.post(path, files=photo_for(path))
        slashed = await client.post(f"{path}/", files=photo_for(path))
        assert (plain.status_code, slashed.status_code) == (200, 200)
        assert plain.content == slashed.content
        metrics = (await client.get("/metrics/")).text
    assert f'matte_requests_total{{route="{path}",status="200"}} 2.0' in metrics
    assert 'route="unmatched"' not in metrics


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/v1/models", "/openapi.json"])
async def test_get_with_a_slash_at_its_end_is_served_where_it_is(running: Running, path: str) -> None:
    async with running() as service:
        assert (await service.client.get(f"{path}/")).status_code == 200


async def test_documentation_is_shown_where_its_files_are_found() -> None:
    async with reached() as client:
        answer = await client.get("/docs/")
        assert (answer.status_code, answer.headers["location"]) == (307, "../docs")
        assert (await client.get(answer.headers["location"].removeprefix(".."))).status_code == 200


@pytest.mark.parametrize("path", ["//", "/v1/matte//", "/v1//matte", "/v1/matte/x", "/page/", "/docs//"])
async def test_other_slashes_lead_nowhere(running: Running, path: str) -> None:
    async with running() as service:
        assert (await service.client.post(path)).status_code in (404, 405)


SPELLINGS = ["/v1/matte/", "/below/v1/matte", "/below/v1/matte/"]


@pytest.mark.parametrize("path", SPELLINGS)
async def test_no_spelling_of_a_path_goes_round_a_key(running: Running, path: str) -> None:
    async with running(api_keys=["secret"], root_path="/below") as service:
        assert (await service.client.post(path, files={"image": PHOTO})).status_code == 401
        headers = {"X-Api-Key": "secret"}
        assert (await service.client.post(path, files={"image": PHOTO}, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "path", ["/metrics/", "/below/metrics", "/docs/", "/below/docs/docs.js", "/below", "/below/"]
)
async def test_no_spelling_of_a_path_goes_round_a_protected_page(running: Running, path: str) -> None:
    async with running(api_keys=["secret"], protect=["metrics", "ui"], root_path="/below") as service:
        assert (await service.client.get(path, headers=BROWSER)).status_code == 401


@pytest.mark.parametrize("path", SPELLINGS)
async def test_no_spelling_of_a_path_goes_round_the_limits(running: Running, gate: Gate, path: str) -> None:
    async with running(gate, max_queue=1, root_path="/below", max_upload_bytes=10_000) as service:
        large = await service.client.post(path, content=b"x" * 10_001, headers={"content-type": "image/png"})
        assert large.status_code == 413
        inside = asyncio.create_task(service.post(PHOTO))
        await until(gate.entered.is_set)
        assert (await service.client.post(path, files={"image": PHOTO})).status_code == 429
        gate.opened.set()
        assert (await inside).status_code == 200


@pytest.mark.parametrize("path", SPELLINGS)
async def test_no_spelling_of_a_path_goes_round_a_rate(running: Running, path: str) -> None:
    async with running(rate_per_minute=1, root_path="/below") as service:
        assert (await service.client.post(path, files={"image": PHOTO})).status_code == 200
        assert (await service.post(PHOTO)).status_code == 429


@pytest.mark.parametrize("root_path", ["/below", "/below/", "/a/b"])
@pytest.mark.parametrize("taken_away", [True, False])
async def test_service_works_below_a_path_whether_or_not_the_proxy_takes_it_away(
    root_path: str, taken_away: bool
) -> None:
    below = "" if taken_away else root_path.rstrip("/")
    async with reached(root_path=root_path) as client:
        for path in sorted(GUARDED):
            for spelling in (path, f"{path}/"):
                answer = await client.post(f"{below}{spelling}", files=photo_for(path))
                assert answer.status_code == 200, spelling
        for path in ("/healthz", "/", "/docs", "/docs/docs.js", "/page/page.js", "/openapi.json"):
            assert (await client.get(f"{below}{path}", headers=BROWSER)).status_code == 200, path
        links = (await client.get(f"{below}/")).json()["links"]
        assert links["matte"] == f"{root_path.rstrip('/')}/v1/matte"
        servers = (await client.get(f"{below}/openapi.json")).json()["servers"]
        assert servers == [{"url": root_path.rstrip("/")}]


async def test_page_is_found_from_below_its_slash(running: Running) -> None:
    async with running(root_path="/a/b") as service:
        answer = await service.client.get("/a/b", headers=BROWSER)
        assert (answer.status_code, answer.headers["location"]) == (307, "b/")
        assert (await service.client.get("/a/b")).json()["links"]
        assert (await service.client.get("/a/bc")).status_code == 404


async def test_without_a_path_requests_go_to_where_the_document_came_from(running: Running) -> None:
    async with running() as service:
        document = (await service.client.get("/openapi.json")).json()
        assert document["servers"] == [{"url": "."}]
        assert {"/v1/matte", "/api/remove"} <= document["paths"].keys()
        assert not any("head" in methods for methods in document["paths"].values())


@pytest.mark.parametrize("own", ["", "/own"])
async def test_trusted_proxy_says_its_path(own: str) -> None:
    async with reached(trusted_proxies="127.0.0.0/8", root_path=own) as client:
        headers = {"X-Forwarded-Prefix": "/shop/matte/"}
        for path in ("/openapi.json", "/shop/matte/openapi.json"):
            assert (await client.get(path, headers=headers)).json()["servers"] == [{"url": "/shop/matte"}]
        answer = await client.post("/shop/matte/v1/matte/", files={"image": PHOTO}, headers=headers)
        assert answer.status_code == 200
        assert (await client.get("/openapi.json")).json()["servers"] == [{"url": own or "."}]


@pytest.mark.parametrize("trusted", ["", "10.0.0.0/8"])
async def test_stranger_says_no_path(trusted: str) -> None:
    async with reached(trusted_proxies=trusted) as client:
        headers = {"X-Forwarded-Prefix": "/shop"}
        assert (await client.get("/openapi.json", headers=headers)).json()["servers"] == [{"url": "."}]
        assert (await client.get("/shop/healthz", headers=headers)).status_code == 404


@pytest.mark.parametrize(
    ("values", "prefix"),
    [
        ([b"/a"], "/a"),
        ([b" /a/b/ "], "/a/b"),
        ([b"/a, /b"], "/a/b"),
        ([b"/a", b"/b/"], "/a/b"),
        ([b"/"], ""),
        ([b""], ""),
        ([], ""),
        ([b"a"], ""),
        ([b"//evil.example"], ""),
        ([b"https://evil.example"], ""),
        ([b"/a/../b c"], ""),
        ([b"/a?b"], ""),
        ([b"/<script>"], ""),
        ([b"/\xff"], ""),
    ],
)
def test_prefix_is_a_path_or_nothing(values: list[bytes], prefix: str) -> None:
    assert prefix_of(values) == prefix


@pytest.mark.parametrize("path", ["matte", "//matte", "/matte?x", "https://x/matte", "/a b", "/a//b"])
def test_root_path_that_is_none_is_refused_with_an_example(path: str) -> None:
    with pytest.raises(ValidationError, match="such as /matte"):
        Settings(root_path=path)


@pytest.mark.parametrize("prefix", ["/v1", "/docs", "/page", "/v1/matte"])
async def test_path_of_a_proxy_may_be_called_as_one_of_ours(running: Running, prefix: str) -> None:
    async with running(root_path=prefix) as service:
        for below in ("", prefix):
            answer = await service.client.post(f"{below}/v1/cutout", files={"image": PHOTO})
            assert answer.status_code == 200


async def test_scope_of_a_server_below_a_path_is_understood() -> None:
    """Ray Serve says by ASGI's `root_path` where it has put the app."""
    seen: list[tuple[str, str]] = []

    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        seen.append((scope["path"], scope[PREFIX]))

    layer = PathMiddleware(app, routes=[Route("/v1/matte", app)], root_path="")
    for path in ("/x/v1/matte", "/v1/matte", "/x/y"):
        await layer({"type": "http", "path": path, "root_path": "/x"}, None, None)  # type: ignore[arg-type]
    assert seen == [("/v1/matte", "/x"), ("/v1/matte", "/x"), ("/y", "/x")]


def test_other_websites_may_ask_by_head() -> None:
    assert "HEAD" in main.CORS_METHODS
