"""Responses that are errors, and connections that brought none, as exceptions."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime

import httpx
import pytest

from app.client.errors import (
    Busy,
    CallError,
    Disconnected,
    Refused,
    TimedOut,
    Unexpected,
    accepted,
    connection_problems,
    seconds_until,
)

REQUEST = httpx.Request("POST", "http://jane:secret@matte:8000/v1/matte?quality=high")
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def response(status: int, headers: dict[str, str] | None = None, **content: object) -> httpx.Response:
    return httpx.Response(status, headers=headers, request=REQUEST, **content)  # type: ignore[arg-type]


def refusal(status: int, headers: dict[str, str] | None = None, **content: object) -> CallError:
    with pytest.raises(CallError) as caught:
        accepted(response(status, headers, **content))
    return caught.value


def failure(error: Exception, *, began: bool = False) -> CallError:
    with pytest.raises(CallError) as caught, connection_problems(began=began):
        raise error
    return caught.value


BODY = {
    "errors": [{"title": "Failed to read image", "code": "failed_to_read_image", "detail": "Truncated."}],
    "request_id": "abc",
}


def test_success_is_passed_on():
    answer = response(200)
    assert accepted(answer) is answer


def test_error_of_the_service_carries_all_that_it_says():
    error = refusal(400, json=BODY)
    assert type(error) is Refused
    assert (error.status, error.code, error.title) == (400, "failed_to_read_image", "Failed to read image")
    assert (error.detail, error.request_id, error.again) == ("Truncated.", "abc", False)
    assert str(error) == "400 failed_to_read_image: Truncated."


@pytest.mark.parametrize("status", [429, 503])
def test_busy_service_says_when_to_come_back(status):
    error = refusal(status, {"Retry-After": "3"}, json=BODY)
    assert type(error) is Busy
    assert error.again
    assert error.retry_after_s == 3


@pytest.mark.parametrize(
    "content",
    [
        {"text": "<html>Bad Gateway</html>"},
        {"content": b"\xff\xfe"},
        {"json": []},
        {"json": {"errors": []}},
        {"json": {"errors": ["no"]}},
    ],
)
def test_error_of_a_proxy_is_told_by_its_status(content):
    error = refusal(502, {"X-Request-Id": "xyz"}, **content)
    assert (error.status, error.code, error.title, error.request_id) == (502, "", "Bad Gateway", "xyz")
    assert error.detail == "http://matte:8000/v1/matte answered 502 Bad Gateway."


def test_redirect_is_not_followed_but_told():
    error = refusal(308, {"Location": "https://matte/v1/matte"})
    assert type(error) is Unexpected
    assert "leads to https://matte/v1/matte" in error.detail


@pytest.mark.parametrize(
    "kind",
    [
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.ReadError,
        httpx.WriteError,
        httpx.RemoteProtocolError,
        httpx.ProxyError,
    ],
)
def test_connection_that_broke_is_worth_another_try_only_before_an_answer_began(kind):
    before = failure(kind("broken", request=REQUEST))
    assert type(before) is Disconnected
    assert before.again
    assert not failure(kind("broken", request=REQUEST), began=True).again


@pytest.mark.parametrize("kind", [httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout])
def test_service_that_is_slow_is_not_asked_to_do_it_twice(kind):
    error = failure(kind("", request=REQUEST))
    assert type(error) is TimedOut
    assert not error.again
    assert "time" in error.detail or "long" in error.detail


def test_request_that_cannot_be_sent_is_not_tried_again():
    assert not failure(httpx.LocalProtocolError("bad header", request=REQUEST)).again


def test_answer_that_cannot_be_decoded_is_unexpected():
    assert type(failure(httpx.DecodingError("not gzip", request=REQUEST), began=True)) is Unexpected


def test_password_in_the_address_is_not_told():
    error = failure(httpx.ConnectError("refused", request=REQUEST))
    assert error.detail == "http://matte:8000/v1/matte: refused."


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        (" 0 ", 0),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0),
        ("Thu, 01 Jan 2026 12:00:30 -0000", 30),
        ("soon", None),
        ("-1", None),
        ("", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(header, seconds):
    assert seconds_until(header, NOW) == seconds


def test_errors_pass_between_processes():
    error = refusal(429, {"Retry-After": "3"}, json=BODY)
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is Busy
        assert vars(other) == vars(error)
        assert str(other) == str(error)
