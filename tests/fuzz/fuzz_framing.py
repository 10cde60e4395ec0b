"""`python -m tests.fuzz.fuzz_framing [--seconds N] [--seed N]`: requests in a row, seen by the service as by h11.

Not by Atheris: both parsers are told apart by what requests mean, not by which lines they pass. What differs is shown
with its seed, by which it comes again, and ends the run.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from tests.fuzz.framing_target import check
from tests.fuzz.http_streams import in_pieces, stream


def run(seconds: float, seed: int) -> int:
    """How many streams were seen alike. Raises AssertionError where one was not."""
    ends = time.monotonic() + seconds
    done = 0
    while time.monotonic() < ends:
        rng = random.Random(seed + done)
        data = stream(rng)
        try:
            check(data, in_pieces(data, rng))
        except AssertionError:
            sys.stderr.write(f"--seed {seed + done}\n{data!r}\n")
            raise
        done += 1
    return done


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fuzz where requests begin and end.")
    parser.add_argument("--seconds", type=float, default=60, help="how long (%(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="of the first; a random one if not given")
    chosen = parser.parse_args()
    first = random.randrange(2**32) if chosen.seed is None else chosen.seed
    sys.stdout.write(f"from --seed {first}: {run(chosen.seconds, first)} streams\n")
