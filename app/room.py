"""How many places there are: all of them, or fewer while more comes, and keeps coming, than can be done.

A queue that is long for a moment carries a burst over; one that is long all the time makes everybody wait, and helps
nobody (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue, 2012). The sign of the second is that requests are
refused and those inside wait long all the same. Then there are as many places as are answered in the time that a
request may take (Little's law), and whoever comes when the flood has ended finds a short queue. Counts and seconds go
in, a count comes out; knows no request.
"""

from __future__ import annotations

from collections import deque
from typing import Final

LASTING_S: Final = 1.0  # after a refusal the flood is believed to go on for so long
SEEN: Final = 16  # answers that tell how many there are in a second


class Room:
    """`most` places; under a lasting flood as few as `least`, so that answers come about `wait_s` seconds after the
    bodies; 0 for `wait_s`: always all. Moments are seconds of one clock."""

    def __init__(self, most: int, least: int = 1, wait_s: float = 0.0) -> None:
        self.most = most
        self._least = min(least, most)
        self._wait_s = wait_s
        self._places = float(most)
        self._refused_at = float("-inf")
        self._seen: deque[tuple[float, float]] = deque(maxlen=SEEN)  # moment, and seconds of the body

    @property
    def places(self) -> int:
        """So many there are now."""
        return int(self._places)

    @property
    def patience_s(self) -> float:
        """A body that has taken so many seconds is not believed to come soon: it takes nobody's place."""
        return LASTING_S + 2 * self._mean_body_s

    def refused(self, now: float) -> None:
        """Somebody found no place."""
        self._refused_at = now

    def answered(self, now: float, *, body_s: float, wait_s: float) -> None:
        """A request whose body took `body_s` seconds to come was answered `wait_s` seconds later."""
        self._seen.append((now, body_s))
        flooded = now - self._refused_at <= LASTING_S
        if wait_s <= self._wait_s or not self._wait_s:
            # In a flood one more for each round of answers, so that it is seen in time when there are too many.
            self._places = min(self.most, self._places + (1 / self._places if flooded else 1))
        elif flooded and len(self._seen) == SEEN:
            self._places = max(self._least, min(self._places, self._answered_in_time()))

    def _answered_in_time(self) -> float:
        """How many answers there are, at the rate of the last ones, in the time that a request may take. Bodies count
        as long as they do take: a place that is being filled keeps nobody waiting."""
        (first, _), (last, _) = self._seen[0], self._seen[-1]
        return (SEEN - 1) / max(last - first, 1e-6) * (self._wait_s + self._mean_body_s)

    @property
    def _mean_body_s(self) -> float:
        return sum(body_s for _, body_s in self._seen) / max(1, len(self._seen))
