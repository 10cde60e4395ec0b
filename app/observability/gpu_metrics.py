"""What NVIDIA's driver says of the GPUs comes in through NVML, Prometheus samples go out. Knows no network.

Optional throughout: without the module `pynvml` (the package nvidia-ml-py), a driver or a GPU there are no samples. A
driver in trouble may keep a question waiting for ever: a thread of its own asks, and a scrape gets the last answers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

EVERY_S: Final = 5.0
STALE_S: Final = 30.0
"""Answers older than this are not given: a flat line of yesterday's figures would hide that the driver is gone."""

_FIGURES: Final = {
    "matte_gpu_busy_ratio": "RateLimitStatus of the last moments in which the GPU computed, 0 to 1.",
    "matte_gpu_memory_used_bytes": "Memory of the GPU in use, by all processes.",
    "matte_gpu_memory_total_bytes": "Memory of the GPU.",
    "matte_gpu_temperature_celsius": "Temperature of the GPU.",
    "matte_gpu_power_watts": "What the GPU draws.",
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reading:
    """One GPU: its index at the driver, its product name, and of `_FIGURES` those that it tells."""

    gpu: int
    name: str
    figures: dict[str, float] = field(default_factory=dict)


class GpuCollector(Collector):
    """The GPUs as `nvml`, the initialised module `pynvml`, knows them. `read` asks it, `collect` tells."""

    def __init__(self, nvml: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._nvml = nvml
        self._clock = clock
        self._readings: list[Reading] = []
        self._read_at = -STALE_S

    def read(self) -> None:
        """Ask the driver. What it does not tell is left out."""
        try:
            readings = [self._one(number) for number in range(self._nvml.nvmlDeviceGetCount())]
        except self._nvml.NVMLError as error:
            _log.debug("the GPUs cannot be read: %s", error)
            return
        self._readings, self._read_at = readings, self._clock()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The last readings, while they are fresh."""
        info = GaugeMetricFamily("matte_gpu_info", "GPUs of this host or container.", labels=["gpu", "name"])
        families = {name: GaugeMetricFamily(name, text, labels=["gpu"]) for name, text in _FIGURES.items()}
        if self._clock() - self._read_at <= STALE_S:
            for reading in self._readings:
                info.add_metric([str(reading.gpu), reading.name], 1)
                for name, value in reading.figures.items():
                    families[name].add_metric([str(reading.gpu)], value)
        return [info, *families.values()]

    def _one(self, number: int) -> Reading:
        nvml = self._nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(number)
        questions: dict[str, Callable[[], float]] = {
            "matte_gpu_busy_ratio": lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
            "matte_gpu_memory_used_bytes": lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used,
            "matte_gpu_memory_total_bytes": lambda: nvml.nvmlDeviceGetMemoryInfo(handle).total,
            "matte_gpu_temperature_celsius": lambda: nvml.nvmlDeviceGetTemperature(
                handle, nvml.NVML_TEMPERATURE_GPU
            ),
            "matte_gpu_power_watts": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
        }
        figures = {}
        for name, question in questions.items():
            try:
                figures[name] = float(question())
            except nvml.NVMLError:
                continue  # Not every GPU tells everything; a part of one (MIG) tells little.
        return Reading(number, nvml.nvmlDeviceGetName(handle), figures)


@contextmanager
def watched(registry: CollectorRegistry) -> Iterator[None]:
    """While the context lasts, the GPUs are asked every few seconds; where there are none, nothing happens."""
    nvml = _initialised()
    if nvml is None:
        yield
        return
    devices, stop = GpuCollector(nvml), threading.Event()

    def ask() -> None:
        devices.read()
        while not stop.wait(EVERY_S):
            devices.read()
        nvml.nvmlShutdown()

    registry.register(devices)
    threading.Thread(target=ask, name="nvml", daemon=True).start()
    try:
        yield
    finally:
        stop.set()
        registry.unregister(devices)


def _initialised() -> Any:
    """The module `pynvml` with the driver behind it, or None."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
