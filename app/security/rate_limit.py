"""A client asks for one more photo; out goes whether it may have it now, and what to tell it of its rate.

A token bucket for each client: `rate` tokens, which is a minute's worth, at once; after that they come back one by
one, evenly. Knows no request, no key and no clock: the caller says what time it is.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

RATE_MAX: Final = 1_000_000  # photos per minute
MOST_CLIENTS: Final = 10_000  # buckets that are remembered, of about 200 bytes each

_MINUTE_NS: Final = 60_000_000_000
_SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class RateLimitStatus:
    """What a client has of its rate after it asked.

    `remaining`: photos that it may post at once. `full_in_s`: seconds until these are `rate` again. `wait_s`: None if
    this photo may come in, else whole seconds until the next one may, at least 1.
    """

    rate: int
    remaining: int
    full_in_s: float
    wait_s: int | None


class RateLimiter:
    """The buckets of all clients. At most `most_clients` are remembered, those that asked last."""

    def __init__(self, most_clients: int = MOST_CLIENTS) -> None:
        self._most_clients = most_clients
        # One number says all of a bucket: when it will be full again. A client that is not here has a full one.
        # Whole nanoseconds, so that who waits exactly as long as it was told is never refused for a rounding.
        self._full_at: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def ask(self, client: str, rate: int, now_ns: int) -> RateLimitStatus:
        """Take a token of `client`, who gets `rate` per minute (1 to RATE_MAX), at `now_ns` of a monotonic clock."""
        token_ns = _MINUTE_NS // rate
        bucket_ns = token_ns * rate
        missing_ns = max(0, self._full_at.get(client, 0) - now_ns)
        wait_ns = missing_ns + token_ns - bucket_ns
        if wait_ns <= 0:
            missing_ns += token_ns
            self._remember(client, now_ns + missing_ns, now_ns)
        return RateLimitStatus(
            rate,
            remaining=max(0, bucket_ns - missing_ns) // token_ns,
            full_in_s=missing_ns / _SECOND_NS,
            wait_s=-(-wait_ns // _SECOND_NS) if wait_ns > 0 else None,
        )

    def _remember(self, client: str, full_at: int, now_ns: int) -> None:
        """Who asked longest ago stands in front, and is forgotten once its bucket is full, or for want of room."""
        self._full_at[client] = full_at
        self._full_at.move_to_end(client)
        while len(self._full_at) > self._most_clients or next(iter(self._full_at.values())) <= now_ns:
            self._full_at.popitem(last=False)
