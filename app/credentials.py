"""A request's headers come in; out goes the key that they carry, or whether another website had them sent.

Knows no keys, and no path.
"""

from __future__ import annotations

import base64

from starlette.datastructures import Headers


def secret_of(headers: Headers) -> bytes:
    """What X-Api-Key says, else `Authorization: Bearer`, else the password of `Basic`; b"" where nothing does."""
    if given := headers.get("x-api-key", "").strip():
        return given.encode("latin-1")
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return rest.strip().encode("latin-1")
        case "basic":
            return _password(rest.strip())
    return b""


def is_foreign(headers: Headers) -> bool:
    """Whether a browser sends this at the wish of another website, with a key that it knows from its user.

    Only Basic is kept by browsers, and sent by itself even with another website's form. They say whose wish it was in
    Sec-Fetch-Site, or, where the service is reached by plain HTTP, in Origin. Other programs send neither.
    """
    if "x-api-key" in headers or not headers.get("authorization", "").lower().startswith("basic "):
        return False
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")


def _password(encoded: str) -> bytes:
    """RFC 7617; the name before the colon may be anything."""
    try:
        return base64.b64decode(encoded, validate=True).partition(b":")[2]
    except ValueError:  # binascii.Error is one; letters that are not ASCII raise another
        return b""
