"""A rate limiter: one token bucket per client.

A bucket holds `rate` tokens, a minute's worth, which may all be used at once; tokens are refilled one by one, evenly
over the minute. The buckets are rows of an SQLite database: in memory, or in a file that the workers of a host share.
Knows no requests, no keys and no clock: the caller passes the time.
"""

from __future__ import annotations

import logging
import sqlite3
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RATE_MAX: Final = 1_000_000  # photos per minute
MOST_CLIENTS: Final = 10_000  # buckets that are kept, about 100 bytes each

_MINUTE_NS: Final = 60_000_000_000
_SECOND_NS: Final = 1_000_000_000
_PATIENCE_S: Final = 0.1  # for the other workers, each of which needs less than a tenth of a millisecond
_log: Final = logging.getLogger(__name__)


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
    """The buckets of all clients, in `file` if it is given, for all processes that open it. Keeps at most about
    `most_clients` of them, the emptiest ones. Raises sqlite3.Error if the file cannot be made."""

    def __init__(self, file: Path | None = None, most_clients: int = MOST_CLIENTS) -> None:
        self._most_clients = most_clients
        self._next_removal_ns = 0
        # A bucket is stored as the time at which it will be full; a client without an entry has a full bucket.
        # Times are whole nanoseconds, so that a client that waits exactly `wait_s` is never refused by rounding.
        self._buckets = sqlite3.connect(
            file or ":memory:", timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False
        )
        weakref.finalize(self, self._buckets.close)  # Python 3.13 warns of connections that nobody closes.
        # A process that is killed leaves the file whole. Nothing has to outlast the host, so nothing is synced.
        self._buckets.execute("PRAGMA journal_mode = PERSIST")
        self._buckets.execute("PRAGMA synchronous = OFF")
        self._buckets.execute("CREATE TABLE IF NOT EXISTS buckets (client TEXT PRIMARY KEY, full_at INTEGER)")
        self._buckets.execute("CREATE INDEX IF NOT EXISTS by_time ON buckets (full_at)")

    def __len__(self) -> int:
        (count,) = self._buckets.execute("SELECT count(*) FROM buckets").fetchone()
        return int(count)

    def take(self, client: str, rate: int, now_ns: int) -> RateLimitStatus:
        """Take a token of `client`, whose rate is `rate` per minute (1 to RATE_MAX), at `now_ns` of a monotonic
        clock, which all processes of a host share. If the file fails, photos are allowed, and the log says why."""
        try:
            with self._buckets:  # commits, or rolls back
                self._buckets.execute("BEGIN IMMEDIATE")
                self._remove_old(now_ns)
                found = self._buckets.execute(
                    "SELECT full_at FROM buckets WHERE client = ?", [client]
                ).fetchone()
                full_at, status = _take(found[0] if found else 0, rate, now_ns)
                if status.wait_s is None:
                    self._buckets.execute("REPLACE INTO buckets VALUES (?, ?)", [client, full_at])
                return status
        except sqlite3.Error as error:
            _log.warning("the rate limit does not hold now: %s", error)
            return _take(0, rate, now_ns)[1]

    def _remove_old(self, now_ns: int) -> None:
        """Once a second remove the buckets that are full, and of too many the fullest."""
        if now_ns < self._next_removal_ns:
            return
        self._next_removal_ns = now_ns + _SECOND_NS
        self._buckets.execute(
            "DELETE FROM buckets WHERE full_at <= max(?, ifnull("
            "(SELECT full_at FROM buckets ORDER BY full_at DESC LIMIT 1 OFFSET ?), 0))",
            [now_ns, self._most_clients],
        )


def _take(full_at: int, rate: int, now_ns: int) -> tuple[int, RateLimitStatus]:
    """When the bucket will be full after a token has been taken, if there is one, and what to tell the client."""
    token_ns = _MINUTE_NS // rate
    bucket_ns = token_ns * rate
    missing_ns = max(0, full_at - now_ns)
    wait_ns = missing_ns + token_ns - bucket_ns
    if wait_ns <= 0:
        missing_ns += token_ns
    status = RateLimitStatus(
        rate,
        remaining=max(0, bucket_ns - missing_ns) // token_ns,
        full_in_s=missing_ns / _SECOND_NS,
        wait_s=-(-wait_ns // _SECOND_NS) if wait_ns > 0 else None,
    )
    return now_ns + missing_ns, status
