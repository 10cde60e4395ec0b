"""Addresses and keys that can be none are refused at once."""

from __future__ import annotations

import pytest

from app.client.client import ClientConfig


def terms(url: str = "http://matte", api_key: str | None = None) -> ClientConfig:
    return ClientConfig(url, api_key, timeout_s=75, connect_timeout_s=5, connections=3)


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "127.0.0.1:8000", "http://", "ftp://matte", "http://a:x"]
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ValueError, match="no address of a service"):
        terms(url)


@pytest.mark.parametrize("key", ["schlüssel", "a\nb"])
def test_key_that_no_header_can_carry_is_refused(key):
    with pytest.raises(ValueError, match="no HTTP header") as caught:
        terms(api_key=key)
    assert key not in str(caught.value)


def test_key_is_sent_and_never_shown():
    assert terms(api_key="secret").headers == {"X-Api-Key": "secret"}
    assert "secret" not in repr(terms(api_key="secret"))
    assert terms().headers == {}


def test_connections_are_bounded():
    assert terms().limits.max_connections == 3
