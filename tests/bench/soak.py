"""Does the service stay as it was? Good photos, bad files and rude clients, 64 at once, for as long as you like.

    .venv/bin/python -m tests.bench.soak [--requests 10000] [--minutes M] [--round 250] [--json OUT.json]

Starts `python -m app serve` on this machine. After each round of requests it comes to rest, and what it holds then is
looked at: memory between two rounds is a level, under load it is an accident. Exits with 1 if there was a 5xx, if an
answer was lost (no answer, another status or code than due, a picture of the wrong size or of another photo), or if
the service grew: in files or threads at all, in memory by more than the bound and beyond doubt.

A share of the clients sends slowly, stalls, or leaves. Who is refused for want of room (429) comes again with the
same request, each time after a longer pause, and counts as one request once it has had its answer. Health is asked
for throughout, by a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import numpy as np

from app.settings import BUILT_IN_MODEL
from tests.bench import mixed, rude
from tests.bench.footprint import Footprint, at_rest, slope
from tests.bench.pulse import Pulse, feeling
from tests.support.servers import serving

CONCURRENCY: Final = 64
# Of 100 requests. All but the good ones cost the service little.
MIX: Final = {"good": 60, "bad": 25, "slow": 4, "stalled": 3, "leaves early": 4, "leaves late": 4}
SLOPE_MAX: Final = 1.0  # MB of resident memory per 1,000 answers
DOUBT: Final = 2.0  # standard errors of the slope
SETTLED: Final = 1_000  # answers after which memory should have found its level
POINTS_MIN: Final = 5  # rounds after that, for a slope to mean anything
UPLOAD_MAX: Final = (
    8_000_000  # bytes; the limit is lowered so that uploads over it are no work for the client
)
BODY_TIMEOUT_S: Final = 5
BACK_OFF_S: Final = 1.0  # after a 429, as its Retry-After says; after each further one twice as long,
BACK_OFF_MOST_S: Final = 8.0  # up to this
TIMEOUT_S: Final = 120.0
SHOWN: Final = 20  # problems


@dataclass(slots=True)
class Soak:
    """How requests ended, what was wrong, what health said meanwhile, and what was held between rounds."""

    endings: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    health: Pulse = field(default_factory=Pulse)
    rests: list[Footprint] = field(default_factory=list)

    def note(self, ending: mixed.Ending) -> None:
        self.endings[ending.told] += 1
        if ending.problem:
            self.problems.append(ending.problem)

    @property
    def settled(self) -> list[Footprint]:
        return [rest for rest in self.rests if rest.answers >= SETTLED]

    @property
    def slope(self) -> tuple[float, float] | None:
        """MB per 1,000 answers, and the standard error. None: not enough rounds to tell."""
        return slope(self.settled) if len(self.settled) >= POINTS_MIN else None

    def verdicts(self) -> list[str]:
        """What is not as it should be."""
        failures = sum(count for told, count in self.endings.items() if told.startswith("5"))
        found = [f"{failures} answers with 5xx"] if failures else []
        if self.health.missed:
            found.append(f"/healthz did not answer with 200: {self.health.missed[:SHOWN]}")
        if self.problems:
            found.append(f"{len(self.problems)} answers lost or wrong")
        if self.slope and self.slope[0] - DOUBT * self.slope[1] >= SLOPE_MAX:
            found.append(f"memory grows by more than {SLOPE_MAX:g} MB per 1,000 answers")
        if self.rests[-1].holds_more_than(self.rests[0]):
            found.append(f"more is held at the end ({self.rests[-1]}) than after the first round")
        return found


@dataclass(frozen=True, slots=True)
class Clients:
    """The clients of one service, and what they send."""

    address: str
    good: list[mixed.Request]
    bad: list[mixed.Request]
    references: mixed.References
    draws: random.Random

    async def round(self, soak: Soak, requests: int) -> None:
        """So many requests, CONCURRENCY at a time, over connections of their own."""
        left = iter(range(requests))
        limits = httpx.Limits(max_connections=CONCURRENCY, max_keepalive_connections=CONCURRENCY)

        async def one(client: httpx.AsyncClient) -> None:
            for _ in left:
                send, pause_s = self._drawn(client), BACK_OFF_S
                while (ending := await send()).told == mixed.BUSY:
                    soak.note(ending)
                    await asyncio.sleep(self.draws.uniform(0.5, 1.5) * pause_s)
                    pause_s = min(2 * pause_s, BACK_OFF_MOST_S)
                soak.note(ending)

        async with httpx.AsyncClient(limits=limits, timeout=TIMEOUT_S) as client:
            await asyncio.gather(*(one(client) for _ in range(CONCURRENCY)))

    def _drawn(self, client: httpx.AsyncClient) -> Callable[[], Awaitable[mixed.Ending]]:
        """One request of the MIX, to be sent as often as need be."""
        kind = self.draws.choices(list(MIX), list(MIX.values()))[0]
        if kind in ("good", "bad"):
            request = self.draws.choice(self.good if kind == "good" else self.bad)
            return partial(mixed.ended, client, self.address, request, self.references)
        plain = self.draws.choice([each for each in self.good if not each.options])
        if kind == "slow":
            return partial(mixed.dawdle, client, self.address, plain, self.references)
        if kind == "stalled":
            return partial(rude.stall, self.address, plain, patience_s=TIMEOUT_S)
        return partial(rude.leave, self.address, plain, early=kind == "leaves early")


async def drive(soak: Soak, address: str, pid: int, options: argparse.Namespace) -> None:
    """Rounds until there were enough requests, or minutes."""
    good = mixed.good()
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
        references = await mixed.alone(client, address, good)
    clients = Clients(address, good, mixed.bad(UPLOAD_MAX), references, random.Random(options.seed))
    ends = time.monotonic() + options.minutes * 60
    answers = 0
    while answers < options.requests and time.monotonic() < ends:
        count = min(options.round, options.requests - answers)
        with feeling(address, soak.health):
            await clients.round(soak, count)
        answers += count
        soak.rests.append(await at_rest(pid, address, answers, soak.rests[0] if soak.rests else None))
        print(soak.rests[-1], flush=True)


def tell(soak: Soak) -> None:
    for told, count in sorted(soak.endings.items()):
        print(f"{count:7d}   {told}")
    for problem in soak.problems[:SHOWN]:
        print(f"wrong: {problem}")
    took = np.percentile(soak.health.took_ms, (50, 99))
    print(f"health: p50 {took[0]:.0f} ms, p99 {took[1]:.0f} ms of {len(soak.health.took_ms)} answers")
    if soak.slope is None:
        print(f"memory: no slope, it takes {POINTS_MIN} rounds after {SETTLED} answers")
    else:
        grows, error = soak.slope
        sure = "" if DOUBT * error < SLOPE_MAX else f"; too few answers to be sure of {SLOPE_MAX:g}"
        print(f"memory: {grows:+.2f} ± {error:.2f} MB per 1,000 answers, {len(soak.settled)} rounds{sure}")


def figures(soak: Soak) -> dict[str, object]:
    return {
        "endings": dict(sorted(soak.endings.items())),
        "problems": soak.problems,
        "health_p99_ms": float(np.percentile(soak.health.took_ms, 99)),
        "memory_mb_per_1000_and_error": soak.slope,
        "rests": [[rest.answers, rest.memory, rest.files, rest.threads] for rest in soak.rests],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=BUILT_IN_MODEL)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--round", type=int, default=250)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    soak = Soak()
    limits = {
        "MATTE_MAX_UPLOAD_BYTES": str(UPLOAD_MAX),
        "MATTE_BODY_TIMEOUT_MS": str(BODY_TIMEOUT_S * 1000),
    }
    with serving(options.model, **limits) as (process, address):
        asyncio.run(drive(soak, address, process.child.pid, options))
    tell(soak)
    if options.json:
        options.json.write_text(json.dumps(figures(soak), indent=1))
    verdicts = soak.verdicts()
    print("\n".join(verdicts) or "as it was")
    return 1 if verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
