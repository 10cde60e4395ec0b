"""`Client` and `AsyncClient`: photos and options in, responses out, over connections that are kept.

What is asked is in `requests`, when to ask again in `retry`, what came back in `responses` and `errors`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from time import sleep
from types import TracebackType
from typing import Final, Self, Unpack

import httpx

from app.client.errors import Busy, CallError, accepted, connection_problems
from app.client.requests import (
    MODELS,
    READY,
    Call,
    CutoutOptions,
    MatteOptions,
    Source,
    cutout_call,
    matte_call,
)
from app.client.responses import Answer, Model, read_answer, read_models, read_ready
from app.client.retry import OnRetry, RetryPolicy, RetryState

_PATIENCE: Final = RetryPolicy()


class Client:
    """A service, asked from threads: one `Client` may be shared by many.

    `base_url` is http://HOST:PORT, with a path where a proxy puts one before the service's. `timeout_s` is the
    longest wait for a byte of the answer, `connections` the most at once. Raises ValueError for an address or a key
    that cannot be one. Each call raises CallErrors, OSError when a photo cannot be read,
    and TypeError or ValueError for what is none.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 75.0,
        connect_timeout_s: float = 5.0,
        connections: int = 10,
        retry: RetryPolicy = _PATIENCE,
        on_retry: OnRetry | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        terms = ClientConfig(base_url, api_key, timeout_s, connect_timeout_s, connections)
        self._terms = terms
        self._retry = retry
        self._on_retry = on_retry
        self._http = httpx.Client(
            base_url=base_url, headers=terms.headers, limits=terms.limits, transport=transport
        )

    def matte(self, photo: Source, **options: Unpack[MatteOptions]) -> Answer:
        """The photo's alpha as a grey PNG of its upright size: see `MatteOptions`."""
        return read_answer(self._ask(matte_call(photo, options)))

    def cutout(self, photo: Source, **options: Unpack[CutoutOptions]) -> Answer:
        """The person without the background, or before another one: see `CutoutOptions`."""
        return read_answer(self._ask(cutout_call(photo, options)))

    def models(self) -> tuple[Model, ...]:
        """What is in service."""
        return read_models(self._ask(MODELS))

    def ready(self) -> bool:
        """Whether a photo would be served now; False while the service loads or shuts down. Asks once."""
        try:
            return read_ready(self._once(READY, self._terms.timeout_s))
        except Busy:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, call: Call) -> httpx.Response:
        attempts = RetryState(self._retry, self._on_retry)
        while True:
            try:
                return self._once(call, attempts.begin())
            except CallError as problem:
                pause_s = attempts.pause_s(problem)
                if pause_s is None:
                    raise
            sleep(pause_s)

    def _once(self, call: Call, left_s: float) -> httpx.Response:
        request = self._terms.request(self._http, call, left_s)
        with connection_problems(began=False):
            response = self._http.send(request, stream=True)
        try:
            with connection_problems(began=True):
                response.read()
        finally:
            response.close()
        return accepted(response)


class AsyncClient:
    """A service, asked from an asyncio loop: `Client` with methods to await."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 75.0,
        connect_timeout_s: float = 5.0,
        connections: int = 10,
        retry: RetryPolicy = _PATIENCE,
        on_retry: OnRetry | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        terms = ClientConfig(base_url, api_key, timeout_s, connect_timeout_s, connections)
        self._terms = terms
        self._retry = retry
        self._on_retry = on_retry
        self._http = httpx.AsyncClient(
            base_url=base_url, headers=terms.headers, limits=terms.limits, transport=transport
        )

    async def matte(self, photo: Source, **options: Unpack[MatteOptions]) -> Answer:
        """The photo's alpha as a grey PNG of its upright size: see `MatteOptions`."""
        return read_answer(await self._ask(await asyncio.to_thread(matte_call, photo, options)))

    async def cutout(self, photo: Source, **options: Unpack[CutoutOptions]) -> Answer:
        """The person without the background, or before another one: see `CutoutOptions`."""
        return read_answer(await self._ask(await asyncio.to_thread(cutout_call, photo, options)))

    async def models(self) -> tuple[Model, ...]:
        """What is in service."""
        return read_models(await self._ask(MODELS))

    async def ready(self) -> bool:
        """Whether a photo would be served now; False while the service loads or shuts down. Asks once."""
        try:
            return read_ready(await self._once(READY, self._terms.timeout_s))
        except Busy:
            return False

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _ask(self, call: Call) -> httpx.Response:
        attempts = RetryState(self._retry, self._on_retry)
        while True:
            try:
                return await self._once(call, attempts.begin())
            except CallError as problem:
                pause_s = attempts.pause_s(problem)
                if pause_s is None:
                    raise
            await asyncio.sleep(pause_s)

    async def _once(self, call: Call, left_s: float) -> httpx.Response:
        request = self._terms.request(self._http, call, left_s)
        with connection_problems(began=False):
            response = await self._http.send(request, stream=True)
        try:
            with connection_problems(began=True):
                await response.aread()
        finally:
            await response.aclose()
        return accepted(response)


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """What is the same for every call. Raises ValueError for an address or a key that cannot be one."""

    base_url: str
    api_key: str | None = field(repr=False)
    timeout_s: float
    connect_timeout_s: float
    connections: int

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.base_url)
        except httpx.InvalidURL as error:
            raise ValueError(f"{self.base_url!r} is no address of a service: {error}") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError(f"{self.base_url!r} is no address of a service; write http://HOST:PORT")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ValueError("the API key holds characters that no HTTP header can carry")

    @property
    def headers(self) -> dict[str, str]:
        """Of every request."""
        return {} if self.api_key is None else {"X-Api-Key": self.api_key}

    @property
    def limits(self) -> httpx.Limits:
        """On connections."""
        return httpx.Limits(max_connections=self.connections, max_keepalive_connections=self.connections)

    def request(self, http: httpx.Client | httpx.AsyncClient, call: Call, left_s: float) -> httpx.Request:
        """`call`, yet to be sent, with `left_s` seconds as the longest wait for anything."""
        wait_s = min(self.timeout_s, left_s)
        timeout = httpx.Timeout(wait_s, connect=min(self.connect_timeout_s, left_s), pool=left_s)
        return http.build_request(
            call.method, call.path, data=dict(call.fields), files=call.parts, timeout=timeout
        )
