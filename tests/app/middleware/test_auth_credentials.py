from __future__ import annotations

import base64

import pytest
from starlette.datastructures import Headers

from app.middleware.auth import is_cross_site, secret_of


def basic(text: str | bytes) -> str:
    return f"Basic {base64.b64encode(text.encode() if isinstance(text, str) else text).decode()}"


@pytest.mark.parametrize(
    ("headers", "secret"),
    [
        ({}, b""),
        ({"X-Api-Key": "one"}, b"one"),
        ({"X-Api-Key": " one "}, b"one"),
        ({"X-Api-Key": "one", "Authorization": "Bearer two"}, b"one"),
        ({"X-Api-Key": "", "Authorization": "Bearer two"}, b"two"),
        ({"Authorization": "Bearer two"}, b"two"),
        ({"Authorization": "bearer  two"}, b"two"),
        ({"Authorization": basic("any:two")}, b"two"),
        ({"Authorization": basic(":two")}, b"two"),
        ({"Authorization": basic(":t:wo")}, b"t:wo"),
        ({"Authorization": basic("two")}, b""),
        ({"Authorization": basic(b"\xff:\xfe")}, b"\xfe"),
        ({"Authorization": "Basic two"}, b""),
        ({"Authorization": "Basic é"}, b""),
        ({"Authorization": "Basic"}, b""),
        ({"Authorization": "Digest two"}, b""),
        ({"Authorization": "two"}, b""),
    ],
)
def test_key_is_found_wherever_it_is_sent(headers: dict[str, str], secret: bytes) -> None:
    assert secret_of(Headers(headers)) == secret


BASIC = {"Authorization": basic(":one"), "Host": "photos.example:8000"}


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        (BASIC, False),
        (BASIC | {"Origin": "http://photos.example:8000"}, False),
        (BASIC | {"Origin": "http://photos.example"}, True),
        (BASIC | {"Origin": "http://evil.example"}, True),
        (BASIC | {"Origin": "null"}, True),
        (BASIC | {"Sec-Fetch-Site": "same-origin"}, False),
        (BASIC | {"Sec-Fetch-Site": "none"}, False),
        (BASIC | {"Sec-Fetch-Site": "cross-site"}, True),
        (BASIC | {"Sec-Fetch-Site": "same-site"}, True),
        # A proxy that gives the service another name than the browser knows.
        (BASIC | {"Sec-Fetch-Site": "same-origin", "Origin": "https://public.example"}, False),
        # What no browser adds by itself was added by somebody who has the key.
        (BASIC | {"Sec-Fetch-Site": "cross-site", "X-Api-Key": "one"}, False),
        ({"Authorization": "Bearer one", "Sec-Fetch-Site": "cross-site"}, False),
        ({"Origin": "http://evil.example"}, False),
    ],
)
def test_what_a_browser_sends_for_another_website_is_told_apart(
    headers: dict[str, str], foreign: bool
) -> None:
    assert is_cross_site(Headers(headers)) == foreign
