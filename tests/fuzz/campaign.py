"""A target and a mutator come in, libFuzzer runs them for some time.

Atheris counts lines of Python: of the decoders in C it sees which way Pillow and the service take after them, and
that they crash, hang or swallow memory. What is found that is new goes to `out/fuzz/<name>/`, what fails to
`out/fuzz/<name>-crash-…`. Needs the extra `fuzz`.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import atheris

from tests.fuzz.mutators import Change

ROOT: Final = Path(__file__).resolve().parents[2]
CORPUS: Final = Path(__file__).parent / "corpus"
FOUND: Final = ROOT / "out" / "fuzz"
SLOWEST_S: Final = 10
MEMORY_MB: Final = 1_500
LONGEST: Final = 32_768  # bytes of an input


@dataclass(frozen=True, slots=True)
class Campaign:
    """`target`: a module and its function of bytes. `instrumented`: how the names of modules begin that are counted;
    `late`: those of them that would be imported too late for that, in the first run."""

    name: str
    target: tuple[str, str]
    instrumented: tuple[str, ...]
    late: tuple[str, ...] = ()
    mutate: Callable[[bytes, int, int, Change], bytes] | None = None
    cross: Callable[[bytes, bytes, int, int], bytes] | None = None
    flags: tuple[str, ...] = ()


def run(campaign: Campaign, arguments: Sequence[str] | None = None) -> None:
    """Until the time is over or something fails; ends the process."""
    parser = argparse.ArgumentParser(
        description=f"Fuzz {campaign.name}.", epilog="More flags go to libFuzzer."
    )
    parser.add_argument("--seconds", type=int, default=60, help="how long (%(default)s); 0: until stopped")
    parser.add_argument("corpus", nargs="*", type=Path, help="more folders of inputs")
    chosen, flags = parser.parse_known_args(arguments)
    found = FOUND / campaign.name
    found.mkdir(parents=True, exist_ok=True)
    command = [
        sys.argv[0],
        f"-max_total_time={chosen.seconds}",
        f"-timeout={SLOWEST_S}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-max_len={LONGEST}",
        f"-artifact_prefix={FOUND}/{campaign.name}-",
        "-print_final_stats=1",
        *campaign.flags,
        *flags,
        *map(str, (found, CORPUS / campaign.name, *chosen.corpus)),
    ]
    with atheris.instrument_imports(include=list(campaign.instrumented)):
        for name in campaign.late:
            importlib.import_module(name)
        module = importlib.import_module(campaign.target[0])
    hooks = {}
    if campaign.mutate:
        mutate = campaign.mutate
        hooks["custom_mutator"] = lambda data, size, seed: mutate(data, size, seed, atheris.Mutate)
    if campaign.cross:
        hooks["custom_crossover"] = campaign.cross
    logging.disable()  # Each malformed form would be a line.
    atheris.Setup(command, getattr(module, campaign.target[1]), **hooks)
    atheris.Fuzz()
