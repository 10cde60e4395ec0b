"""An address, a key and limits come in, what httpx must be told goes out. Knows no photo."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx

from app.client.calls import Call


@dataclass(frozen=True, slots=True)
class Terms:
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
