"""Asks a service for its health again and again, from a process of its own: the asker's work is not measured.

    .venv/bin/python -m tests.bench.pulse http://127.0.0.1:8000 [--pause 0.2]

One line for each answer: its status (0 if none came) and the milliseconds that it took. Ends with its standard input.
"""

from __future__ import annotations

import argparse
import http.client
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

TIMEOUT_S = 60.0


@dataclass(slots=True)
class Pulse:
    """What came back: statuses, and milliseconds of each."""

    statuses: list[int] = field(default_factory=list)
    took_ms: list[float] = field(default_factory=list)

    @property
    def missed(self) -> list[int]:
        """Statuses that were not 200."""
        return [status for status in self.statuses if status != 200]


@contextmanager
def feeling(address: str, pulse: Pulse) -> Iterator[None]:
    """Asks while the context lasts; `pulse` has the answers at its end."""
    asking = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.pulse", address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield
    finally:
        lines, _ = asking.communicate()
        for line in lines.splitlines():
            status, took = line.split(" ")
            pulse.statuses.append(int(status))
            pulse.took_ms.append(float(took))


def ask(address: str) -> tuple[int, float]:
    """Status of /healthz on a connection of its own, 0 if there was no answer, and milliseconds."""
    place = urlsplit(address)
    started = time.perf_counter()
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        answer.read()
        status = answer.status
    except (OSError, http.client.HTTPException):
        status = 0
    finally:
        connection.close()
    return status, (time.perf_counter() - started) * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address")
    parser.add_argument("--pause", type=float, default=0.2)
    options = parser.parse_args()
    while not select.select([sys.stdin], [], [], options.pause)[0]:
        status, took = ask(options.address)
        print(f"{status} {took:.2f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
