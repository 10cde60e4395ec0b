"""A response that is an error, or a connection that brought none, comes in; an exception goes out.

    CallError
      Refused        the service answered with an error: `status`, `code`, `title`, `detail`, `request_id`
        Busy         429 or 503: the same call may work later
      Unexpected     something answered, but not as this service does
      TimedOut       no answer in time
      Disconnected   no connection, or one that broke off

Knows no request. Codes are the service's own; its README lists them.
"""

# ruff: noqa: N818 - the tree above says that they are errors; their names say what went wrong.

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

BUSY: Final = frozenset({429, 503})
# What may happen to a connection before an answer has begun, and not again on the next one.
_PASSING: Final = (httpx.NetworkError, httpx.ConnectTimeout, httpx.RemoteProtocolError, httpx.ProxyError)
_WORDS: Final[Mapping[type[Exception], str]] = {
    httpx.ConnectTimeout: "no connection in time",
    httpx.ReadTimeout: "no answer in time",
    httpx.WriteTimeout: "the upload took too long",
    httpx.PoolTimeout: "no connection came free in time",
}


class CallError(Exception):
    """A call that brought no result, after all attempts. `detail` is a sentence for a person.

    `code` is a stable name to branch on, "" where no service has given one. `again`: the same call may work later.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int | None = None,
        code: str = "",
        title: str = "",
        request_id: str = "",
        again: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.code = code
        self.title = title
        self.request_id = request_id
        self.again = again
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        named = " ".join(str(part) for part in (self.status, self.code) if part)
        return f"{named}: {self.detail}" if named else self.detail


class Refused(CallError):
    """The service answered with an error."""


class Busy(Refused):
    """Nothing is wrong with the call; the service is full, loading or shutting down."""


class Unexpected(CallError):
    """Something answered, but it is not this service, or not one of this version."""


class TimedOut(CallError):
    """The connection stands, but the upload or the answer took too long."""


class Disconnected(CallError):
    """No connection could be made, or it broke off."""


def accepted(response: httpx.Response) -> httpx.Response:
    """`response` if it is a success. Raises Refused or Busy by what its body says, and Unexpected for a redirect."""
    if response.is_success:
        return response
    if not response.is_error:
        target = response.headers.get("location", "elsewhere")
        raise Unexpected(
            f"{place(response.url)} leads to {target}; give the address it leads to.",
            status=response.status_code,
        )
    error, request_id = _error_of(response)
    kind = Busy if response.status_code in BUSY else Refused
    raise kind(
        error.get("detail")
        or f"{place(response.url)} answered {response.status_code} {response.reason_phrase}.",
        status=response.status_code,
        code=error.get("code", ""),
        title=error.get("title") or response.reason_phrase,
        request_id=request_id or response.headers.get("x-request-id", ""),
        again=kind is Busy,
        retry_after_s=seconds_until(response.headers.get("retry-after", ""), datetime.now(UTC)),
    )


@contextmanager
def connection_problems(*, began: bool) -> Iterator[None]:
    """Tells httpx's errors as TimedOut, Disconnected or Unexpected; `began`: some of the answer was there already."""
    try:
        yield
    except httpx.RequestError as error:
        again = isinstance(error, _PASSING) and not began
        kind: type[CallError] = Unexpected
        if isinstance(error, httpx.TransportError):
            timed_out = isinstance(error, httpx.TimeoutException) and not again
            kind = TimedOut if timed_out else Disconnected
        raise kind(f"{place(error.request.url)}: {_words(error)}.", again=again) from error


def seconds_until(retry_after: str, now: datetime) -> float | None:
    """A Retry-After header, a number of seconds or a date, in seconds from `now`; None where it is neither."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        then = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp() - now.timestamp())


def _error_of(response: httpx.Response) -> tuple[dict[str, str], str]:
    """The first error of the body, and the request's id; nothing where the body is not this service's."""
    try:
        document = response.json()
        first = {str(name): str(text) for name, text in document["errors"][0].items()}
        return first, str(document.get("request_id", ""))
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}, ""


def place(url: httpx.URL) -> str:
    """The address without the name and password that may be in it."""
    return f"{url.scheme}://{url.netloc.decode()}{url.path}"


def _words(error: httpx.RequestError) -> str:
    return _WORDS.get(type(error)) or str(error).rstrip(".") or type(error).__name__
