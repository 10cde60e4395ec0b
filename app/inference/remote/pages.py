"""The metrics of several processes as one page of Prometheus' text format.

Each sample gets the label `worker`: the number of a front end, or the name of an inference process. Nothing is added
up: each event is counted by one process only, so sums over `worker` are right. Knows no sockets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

OF_INFERENCE: Final = frozenset(
    {
        "matte_batch_limit",
        "matte_batch_padding",
        "matte_batch_size",
        "matte_build_info",
        "matte_loop_lag_seconds",
        "matte_oldest_step_seconds",
        "matte_out_of_memory_total",
        "matte_queue_depth",
        "matte_ready",
        "matte_stage_seconds",
        "matte_stuck_total",
    }
)
"""What an inference process has to tell, beside its process' own metrics and its GPUs'."""


def merge(pages: Mapping[str, str]) -> str:
    """One page of those of several processes, by their names. Families are in the order of their first appearance."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for worker, page in pages.items():
        for family, lines in _families(page).items():
            heads.setdefault(family, [line for line in lines if line.startswith("#")])
            labelled = [_labelled(line, worker) for line in lines if not line.startswith("#")]
            samples.setdefault(family, []).extend(labelled)
    return "".join(f"{line}\n" for family in heads for line in heads[family] + samples[family])


def of_inference(page: str) -> str:
    """The page of an inference process without the families that only front ends have anything to tell of."""
    lines = [
        line
        for family, lines in _families(page).items()
        if family.startswith(("process_", "matte_gpu_")) or family.removesuffix("_created") in _STEMS
        for line in lines
    ]
    return "".join(f"{line}\n" for line in lines)


_STEMS: Final = OF_INFERENCE | {name.removesuffix("_total") for name in OF_INFERENCE}
_HELP: Final = "# HELP "


def _families(page: str) -> dict[str, list[str]]:
    """The lines of each family; each begins with its HELP line, as prometheus_client writes them."""
    families: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in page.split("\n"):
        if line.startswith(_HELP):
            lines = families.setdefault(line.removeprefix(_HELP).split(" ", 1)[0], [])
        if line:
            lines.append(line)
    return families


def _labelled(sample: str, worker: str) -> str:
    name, brace, rest = sample.partition("{")
    if brace and " " not in name:
        return f'{name}{{worker="{worker}",{rest}'
    name, _, value = sample.partition(" ")
    return f'{name}{{worker="{worker}"}} {value}'
