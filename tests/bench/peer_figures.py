"""Two servers' figures side by side: the ratios that matter, what is demanded of them, and the table.

In: what was measured of the service and of rembg. Out: text and JSON. Starts nothing and measures nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tests.bench.cpu_share import CpuUse
from tests.bench.load import Load
from tests.bench.peer_rembg import Peer

TASKS: Final = (("matte", 1), ("matte", 8), ("cut-out", 8))  # what is asked for, and by how many clients
QUIET: Final = (
    0.05  # share of the CPUs that others may take; on two cores a build beside it turned 5.7 into 2.0
)


@dataclass(frozen=True, slots=True)
class Bar:
    """A ratio of ours to rembg's: of which task's which figure, what is demanded and what is hoped for."""

    title: str
    task: str
    figure: str
    bar: float
    goal: float

    def verdict(self, ratio: float) -> str:
        sign, better = ("≥", ratio.__ge__) if self.goal > self.bar else ("≤", ratio.__le__)
        limits = (("bar", self.bar), ("goal", self.goal))
        return ", ".join(
            f"{name} {sign} {each:g}: {'yes' if better(each) else 'no'}" for name, each in limits
        )


BARS: Final = (
    Bar("requests/s, matte at 8", "matte at 8", "requests_per_s", 4, 6),
    Bar("requests/s, cut-out at 8", "cut-out at 8", "requests_per_s", 7, 12),
    Bar("p50, matte at 1", "matte at 1", "p50_ms", 0.35, 0.25),
)


@dataclass(frozen=True, slots=True)
class Run:
    """One task at one server: its load, and whose CPU time it was."""

    load: Load
    cpu: CpuUse

    def summary(self) -> dict[str, float]:
        per_request = self.cpu.server_s / len(self.load.latencies)
        return self.load.summary() | {
            "cpu_ms_per_request": per_request * 1000,
            "cpu_share_of_others": self.cpu.others,
        }


@dataclass(frozen=True, slots=True)
class Measured:
    """A server's run of each task ("matte at 8"), and its matte of the photo, uint8 `[H,W]`."""

    runs: dict[str, Run]
    matte: NDArray[np.uint8]

    @property
    def memory_peak(self) -> int:
        return max(run.load.memory_peak for run in self.runs.values())


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both servers, and how far apart their alphas are: the networks' at most, the mattes' on average."""

    peer: Peer
    service: Measured
    rembg: Measured
    alpha_difference: float

    @property
    def matte_difference(self) -> float:
        return float(np.abs(self.service.matte.astype(float) - self.rembg.matte).mean()) / 255

    @property
    def tasks(self) -> list[str]:
        """What both can do."""
        return [task for task in self.rembg.runs if task in self.service.runs]

    def ratio(self, task: str, figure: str) -> float:
        """Ours to rembg's."""
        return self.service.runs[task].summary()[figure] / self.rembg.runs[task].summary()[figure]

    def others(self, task: str) -> float:
        """The larger share of the CPUs that others took during this task, at either server."""
        return max(server.runs[task].cpu.others for server in (self.service, self.rembg))

    @property
    def ratios(self) -> dict[str, float]:
        """Ours to rembg's, by the title of each bar whose task both can do."""
        return {bar.title: self.ratio(bar.task, bar.figure) for bar in BARS if bar.task in self.tasks}

    def summary(self) -> dict[str, object]:
        servers = {"service": self.service, "rembg": self.rembg}
        return {
            "versions": {"rembg": self.peer.rembg, "onnxruntime": self.peer.onnxruntime},
            "alpha_difference_max": self.alpha_difference,
            "matte_difference_mean": self.matte_difference,
            "ratios": self.ratios,
            "quiet": {bar.title: self.others(bar.task) <= QUIET for bar in BARS if bar.task in self.tasks},
            "loads": {
                name: {task: run.summary() for task, run in server.runs.items()}
                for name, server in servers.items()
            },
        }


def table(comparison: Comparison) -> str:
    """The figures, the ratios and what they mean. Where others took part of the CPUs, no verdict is given."""
    lines = [
        f"rembg {comparison.peer.rembg}, ONNX Runtime {comparison.peer.onnxruntime}; the same network: alphas differ "
        f"by {comparison.alpha_difference:.1e} at most, mattes by {comparison.matte_difference:.4f} on average",
        "",
    ]
    for name, server in (("service", comparison.service), ("rembg", comparison.rembg)):
        lines += [f"{name:8s} {_row(task, run)}" for task, run in server.runs.items()]
    lines += ["", "service ÷ rembg"]
    lines += [f"{bar.title:31s} {_judged(comparison, bar)}" for bar in BARS]
    lines += [
        f"{f'CPU per request, {task}':31s} {comparison.ratio(task, 'cpu_ms_per_request'):5.2f}"
        for task in comparison.tasks
    ]
    peaks = comparison.service.memory_peak / comparison.rembg.memory_peak
    return "\n".join([*lines, f"{'peak memory':31s} {peaks:5.2f}"])


def _row(task: str, run: Run) -> str:
    figures = run.summary()
    return (
        f"{task:13s} {figures['requests_per_s']:6.2f} requests/s   p50 {figures['p50_ms']:5.0f} ms   "
        f"CPU {figures['cpu_ms_per_request']:5.0f} ms each   peak {figures['memory_peak_mb']:5.0f} MB   "
        f"others {figures['cpu_share_of_others']:3.0%}   {figures['requests']} requests"
    )


def _judged(comparison: Comparison, bar: Bar) -> str:
    if bar.task not in comparison.tasks:
        return "no such endpoint yet"
    ratio, others = comparison.ratios[bar.title], comparison.others(bar.task)
    if others > QUIET:
        return f"{ratio:5.2f}   no verdict: others took up to {others:.0%} of the CPUs; measure again"
    return f"{ratio:5.2f}   {bar.verdict(ratio)}"
