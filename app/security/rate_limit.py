"""A rate limiter: one token bucket per client.

A bucket holds `rate` tokens, a minute's worth, which may all be used at once; tokens are refilled one by one, evenly
over the minute. Knows no requests, no keys and no clock: the caller passes the time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

RATE_MAX: Final = 1_000_000  # photos per minute
MOST_CLIENTS: Final = 10_000  # buckets that are kept, about 200 bytes each

_MINUTE_NS: Final = 60_000_000_000
_SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class RateLimitStatus:
    """The state of a client's bucket after `take`.

    `remaining`: photos that it may post immediately. `full_in_s`: seconds until the bucket is full. `wait_s`: None if
    the photo is allowed, else whole seconds until the next one is, at least 1.
    """

    rate: int
    remaining: int
    full_in_s: float
    wait_s: int | None


class RateLimiter:
    """The buckets of all clients. Keeps at most `most_clients` of them, those used last."""

    def __init__(self, most_clients: int = MOST_CLIENTS) -> None:
        self._most_clients = most_clients
        # A bucket is stored as the time at which it will be full; a client without an entry has a full bucket.
        # Times are whole nanoseconds, so that a client that waits exactly `wait_s` is never refused by rounding.
        self._full_at: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, client: str, rate: int, now_ns: int) -> RateLimitStatus:
        """Take a token of `client`, whose rate is `rate` per minute (1 to RATE_MAX), at `now_ns` of a monotonic
        clock."""
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
        """Store the bucket as the most recently used; drop the oldest ones if they are full or too many."""
        self._full_at[client] = full_at
        self._full_at.move_to_end(client)
        while len(self._full_at) > self._most_clients or next(iter(self._full_at.values())) <= now_ns:
            self._full_at.popitem(last=False)
