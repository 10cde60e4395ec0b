from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest

from app.api import web
from tests.app.web.stub_service import MAX_UPLOAD_BYTES, StandIn, stand_in_app

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
HTML = (web.PAGE_DIR / "index.html").read_text(encoding="utf-8")
MODULES = {path.name: path.read_text(encoding="utf-8") for path in web.PAGE_DIR.glob("*.js")}
PATHS = ["/", "/docs", "/page/page.js", "/page/base.css", "/page/icon.svg", "/docs/docs.js"]
PATHS += [f"/docs/{name}" for name in web.SWAGGER_FILES]
NO_PATHS = ["/page/", "/page/index.html", "/page/..%2fsite.py", "/page/%2e%2e/site.py", "/page/nothing.js"]
NO_PATHS += ["/docs/index.html", "/docs/..%2f..%2fsite.py", "/docs/redoc.standalone.js"]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(stand_in_app(StandIn()))
    async with httpx.AsyncClient(transport=transport, base_url="http://service", headers=BROWSER) as made:
        yield made


def directives(answer: httpx.Response) -> dict[str, list[str]]:
    parts = answer.headers["content-security-policy"].split(";")
    return {part.split()[0]: part.split()[1:] for part in parts}


async def test_browsers_get_the_page_at_the_root(client: httpx.AsyncClient) -> None:
    answer = await client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["vary"] == "Accept"
    assert "<h1" in answer.text


@pytest.mark.parametrize("accept", ["*/*", "application/json", ""])
async def test_others_get_the_index_at_the_root(client: httpx.AsyncClient, accept: str) -> None:
    answer = await client.get("/", headers={"Accept": accept})
    assert answer.json()["links"]["docs"] == "/docs"
    assert answer.headers["vary"] == "Accept"


async def test_page_knows_the_upload_limit(client: httpx.AsyncClient) -> None:
    text = (await client.get("/")).text
    assert f'data-max-upload-bytes="{MAX_UPLOAD_BYTES}"' in text
    assert "MAX_UPLOAD_BYTES" not in text


@pytest.mark.parametrize("path", PATHS)
async def test_every_file_comes_with_strict_headers(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-frame-options"] == "DENY"
    policy = directives(answer)
    for name in ("default-src", "form-action", "frame-ancestors", "base-uri"):
        assert policy[name] == ["'none'"], name
    assert policy["script-src"] == policy["connect-src"] == ["'self'"]
    sources = {source for given in policy.values() for source in given}
    assert not any("://" in source or source == "*" for source in sources)


async def test_page_allows_no_inline_style(client: httpx.AsyncClient) -> None:
    assert directives(await client.get("/"))["style-src"] == ["'self'"]


@pytest.mark.parametrize("path", PATHS)
async def test_unchanged_file_is_not_sent_again(client: httpx.AsyncClient, path: str) -> None:
    first = await client.get(path)
    assert first.headers["cache-control"] == "no-cache"
    for condition in (first.headers["etag"], f'"other", W/{first.headers["etag"]}', "*"):
        again = await client.get(path, headers={"If-None-Match": condition})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
    assert (await client.get(path, headers={"If-None-Match": '"other"'})).status_code == 200


@pytest.mark.parametrize("path", PATHS)
async def test_head_says_what_get_would_send(client: httpx.AsyncClient, path: str) -> None:
    got, head = await client.get(path), await client.head(path)
    assert head.status_code == 200
    for name in ("content-type", "content-length", "etag"):
        assert head.headers[name] == got.headers[name]


@pytest.mark.parametrize("path", NO_PATHS)
async def test_other_names_are_not_found(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize("start", ["/", "/docs"])
async def test_everything_that_a_page_names_is_served(client: httpx.AsyncClient, start: str) -> None:
    """From the page through its modules' imports: nothing is missing, and nothing lies about unused."""
    html = (await client.get(start)).text
    waiting = re.findall(r'(?:src|href)="((?:page|docs)/[^"]+)"', html)
    assert waiting
    seen: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            answer = await client.get(f"/{path}")
            assert answer.status_code == 200, path
            waiting += [f"page/{name}" for name in re.findall(r'from "\./([\w.]+)"', answer.text)]
    if start == "/":
        assert {path.removeprefix("page/") for path in seen} == served_from_page()


def served_from_page() -> set[str]:
    ours = {path.name for path in web.PAGE_DIR.iterdir() if path.suffix != ".html"}
    return ours - {"docs.js"}


def test_page_has_no_inline_script_style_or_handler() -> None:
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\ssrc=)", HTML)


def test_addresses_are_relative_so_that_a_proxy_may_add_a_path() -> None:
    texts = [HTML, (web.PAGE_DIR / "docs.html").read_text(encoding="utf-8"), *MODULES.values()]
    for text in texts:
        assert not re.search(r'(?:src|href|url|open)\b\W{1,5}"(?:POST", ")?(?:/|https?:)', text)


def test_no_two_elements_have_the_same_id() -> None:
    assert [name for name, count in Counter(re.findall(r'\bid="([^"]+)"', HTML)).items() if count > 1] == []


def test_every_id_that_a_module_asks_for_is_on_the_page() -> None:
    ids = set(re.findall(r'\bid="([^"]+)"', HTML))
    asked = {name for text in MODULES.values() for name in re.findall(r'part\("([\w-]+)"\)', text)}
    assert asked
    assert asked <= ids
    icons = set(re.findall(r'href="#([\w-]+)"', HTML)) - {"curl"}
    assert icons <= ids


async def test_documentation_reads_this_services_description(client: httpx.AsyncClient) -> None:
    script = (await client.get("/docs/docs.js")).text
    assert 'url: "openapi.json"' in script
    assert "validatorUrl: null" in script
    description = (await client.get("/openapi.json")).json()
    assert list(description["paths"]) == ["/v1/cutout"]
