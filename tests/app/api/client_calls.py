"""Requests byte by byte, as the HTTP libraries of other programs write them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from app.api.uploads import FORM, JSON, URLENCODED

Part = tuple[str, bytes]
"""The header lines of a part of a form, and its content."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a client; `query` with its question mark, if there is one."""

    client: str
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: str = ""

    async def send(self, client: httpx.AsyncClient, path: str) -> httpx.Response:
        headers = {**self.headers, "Content-Type": self.content_type}
        return await client.post(path + self.query, content=self.body, headers=headers)


def form_call(
    client: str,
    boundary: str,
    *parts: Part,
    headers: Mapping[str, str] | None = None,
    query: str = "",
    quoted: bool = False,
) -> Call:
    """A multipart form. `quoted`: the boundary has quotation marks in the content type."""
    lines = [f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n" for head, content in parts]
    body = b"".join([*lines, f"--{boundary}--\r\n".encode()])
    shown = f'"{boundary}"' if quoted else boundary
    return Call(client, body, f"{FORM}; boundary={shown}", headers or {}, query)


def text(name: str, value: str, *more: str) -> Part:
    """A field of a form, with further header lines if its library writes some."""
    return "\r\n".join([f'Content-Disposition: form-data; name="{name}"', *more]), value.encode()


def file(name: str, filename: str, content: bytes, *more: str) -> Part:
    """A file of a form."""
    return "\r\n".join(
        [f'Content-Disposition: form-data; name="{name}"; filename="{filename}"', *more]
    ), content


def json_call(client: str, body: bytes, headers: Mapping[str, str]) -> Call:
    """A JSON body."""
    return Call(client, body, JSON, headers)


def urlencoded_call(client: str, fields: Mapping[str, str], headers: Mapping[str, str]) -> Call:
    """A form without files."""
    return Call(client, str(httpx.QueryParams(fields)).encode(), URLENCODED, headers)
