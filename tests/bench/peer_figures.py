"""Two servers' figures side by side: the ratios that matter, what is demanded of them, and the table.

In: what was measured of the service and of rembg. Out: text and JSON. Starts nothing and measures nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tests.bench.cpu_share import CpuUse
from tests.bench.load import Load
from tests.bench.peer_rembg import Peer

TASKS: Final = (("matte", 1), ("matte", 8), ("cut-out", 8))  # what is asked for, and by how many clients
BUSY: Final = 0.05  # share of the CPUs that others take, from which on a ratio deserves a second look


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
    """One block of a task at one server: its load, and whose CPU time it was."""

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
    """A server's blocks of each task ("matte at 8"), and its matte of the photo, uint8 `[H,W]`."""

    runs: dict[str, list[Run]]
    matte: NDArray[np.uint8]

    @property
    def memory_peak(self) -> int:
        return max(run.load.memory_peak for runs in self.runs.values() for run in runs)

    def figure(self, task: str, name: str) -> list[float]:
        """One of the summary's figures, block by block."""
        return [run.summary()[name] for run in self.runs[task]]

    def summary(self, task: str) -> dict[str, float]:
        """The median of each figure over the blocks."""
        every = [run.summary() for run in self.runs[task]]
        return {name: float(np.median([each[name] for each in every])) for name in every[0]}


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours to rembg's: the median of the rounds, the least and the largest."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:5.2f} ({self.least:.2f} to {self.most:.2f})"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both servers, and how far apart their alphas are: the networks' at most (None where they are not the same
    network), the mattes' on average."""

    peer: Peer
    service: Measured
    rembg: Measured
    alpha_difference: float | None

    @property
    def matte_difference(self) -> float:
        return float(np.abs(self.service.matte.astype(float) - self.rembg.matte).mean()) / 255

    def ratio(self, task: str, figure: str) -> Ratio:
        pairs = zip(self.service.figure(task, figure), self.rembg.figure(task, figure), strict=True)
        ratios = [ours / theirs for ours, theirs in pairs]
        return Ratio(float(np.median(ratios)), min(ratios), max(ratios))

    def others(self, task: str) -> float:
        """The median share of the CPUs that others took during this task."""
        figures = [server.figure(task, "cpu_share_of_others") for server in (self.service, self.rembg)]
        return float(np.median(figures))

    @property
    def ratios(self) -> dict[str, Ratio]:
        """By the title of each bar."""
        return {bar.title: self.ratio(bar.task, bar.figure) for bar in BARS}

    def summary(self) -> dict[str, object]:
        servers = {"service": self.service, "rembg": self.rembg}
        return {
            "versions": {"rembg": self.peer.rembg, "onnxruntime": self.peer.onnxruntime},
            "alpha_difference_max": self.alpha_difference,
            "matte_difference_mean": self.matte_difference,
            "ratios": {title: asdict(ratio) for title, ratio in self.ratios.items()},
            "others": {bar.title: self.others(bar.task) for bar in BARS},
            "loads": {
                name: {task: server.summary(task) for task in server.runs} for name, server in servers.items()
            },
        }


def table(comparison: Comparison) -> str:
    """The figures, the ratios and what they mean."""
    same = comparison.alpha_difference
    networks = (
        "networks that differ:" if same is None else f"the same network: alphas differ by {same:.1e} at most,"
    )
    lines = [
        f"rembg {comparison.peer.rembg}, ONNX Runtime {comparison.peer.onnxruntime}; {networks} "
        f"mattes by {comparison.matte_difference:.4f} on average",
        "",
    ]
    for name, server in (("service", comparison.service), ("rembg", comparison.rembg)):
        lines += [f"{name:8s} {_row(task, server.summary(task))}" for task in server.runs]
    lines += ["", "service ÷ rembg: median of the rounds (least to largest)"]
    lines += [f"{bar.title:31s} {_judged(comparison, bar)}" for bar in BARS]
    lines += [
        f"{f'CPU per request, {task}':31s} {comparison.ratio(task, 'cpu_ms_per_request')}"
        for task in comparison.service.runs
    ]
    peaks = comparison.service.memory_peak / comparison.rembg.memory_peak
    return "\n".join([*lines, f"{'peak memory':31s} {peaks:5.2f}"])


def _row(task: str, figures: dict[str, float]) -> str:
    return (
        f"{task:13s} {figures['requests_per_s']:6.2f} requests/s   p50 {figures['p50_ms']:5.0f} ms   "
        f"CPU {figures['cpu_ms_per_request']:5.0f} ms each   peak {figures['memory_peak_mb']:5.0f} MB   "
        f"others {figures['cpu_share_of_others']:3.0%}   {figures['requests']:.0f} requests a block"
    )


def _judged(comparison: Comparison, bar: Bar) -> str:
    ratio, others = comparison.ratios[bar.title], comparison.others(bar.task)
    busy = f"   others took {others:.0%} of the CPUs" if others > BUSY else ""
    return f"{ratio}   {bar.verdict(ratio.median)}{busy}"
