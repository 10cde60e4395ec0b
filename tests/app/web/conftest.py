"""A real browser on the page, against the stand-in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.app.web.stub_service import StandIn, stand_in

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

expect.set_options(timeout=15_000)


@pytest.fixture(scope="package")
def service() -> Iterator[StandIn]:
    with stand_in() as running:
        yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium, chromium-browser or google-chrome is installed")
    camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *camera])
        yield browser
        browser.close()


@pytest.fixture
def page(service: StandIn, browser: Browser) -> Iterator[Page]:
    """The page, opened. At its end it is held to: no script error, no breach of its content policy, and no request
    that leaves this service."""
    service.reset()
    context = browser.new_context()
    context.set_default_timeout(15_000)
    page = context.new_page()
    errors: list[str] = []
    requests: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: requests.append(request.url))
    page.goto(service.address)
    yield page
    service.gate.set()
    context.close()
    # Chromium's own line for each answer of 400 and above is no error of the page.
    assert [text for text in errors if not text.startswith("Failed to load resource")] == []
    assert [url for url in requests if not url.startswith((f"{service.address}/", "blob:", "data:"))] == []
