"""What scripts of other websites may send to the service and read of its answers, if the operator names them.

Browsers ask first (a preflight), without a key; that is answered before anything else looks at it. Keys are sent by
the script itself: what the browser keeps for its user, it must not add.
"""

from __future__ import annotations

from typing import Final

METHODS: Final = ("GET", "HEAD", "POST")
SENT: Final = ("Authorization", "X-Api-Key", "X-Request-Id")
READ: Final = (
    "Retry-After",
    "Server-Timing",
    "X-Credits-Charged",
    "X-Foreground",
    "X-Foreground-Height",
    "X-Foreground-Left",
    "X-Foreground-Top",
    "X-Foreground-Width",
    "X-Height",
    "X-Matte-Confidence",
    "X-Model",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-Request-Id",
    "X-Type",
    "X-Width",
)
