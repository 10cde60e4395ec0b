"""GPU metrics: read NVIDIA's driver through NVML, and expose the readings to Prometheus. Knows no network.

Optional: without the module `pynvml` (the package nvidia-ml-py), a driver or a GPU there are no samples. A faulty
driver may block a call for ever, so a thread of its own makes the calls, and a scrape gets the last readings.
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
"""Readings older than this are not exposed: a flat line of old values would hide that the driver has failed."""

_FIGURES: Final = {
    "matte_gpu_busy_ratio": "Share of the last moments in which the GPU computed, 0 to 1.",
    "matte_gpu_memory_used_bytes": "Memory of the GPU in use, by all processes.",
    "matte_gpu_memory_total_bytes": "Memory of the GPU.",
    "matte_gpu_temperature_celsius": "Temperature of the GPU.",
    "matte_gpu_power_watts": "Power that the GPU draws.",
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reading:
    """One GPU: its index at the driver, its product name, and those of `_FIGURES` that it reports."""

    gpu: int
    name: str
    figures: dict[str, float] = field(default_factory=dict)


class GpuCollector(Collector):
    """Collect the GPUs that `nvml`, the initialised module `pynvml`, reports. `read` calls the driver, `collect` does
    not."""

    def __init__(self, nvml: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._nvml = nvml
        self._clock = clock
        self._readings: list[Reading] = []
        self._read_at = -STALE_S

    def read(self) -> None:
        """Read all GPUs. Values that the driver does not report are left out."""
        try:
            readings = [self._read_gpu(number) for number in range(self._nvml.nvmlDeviceGetCount())]
        except self._nvml.NVMLError as error:
            _log.debug("the GPUs cannot be read: %s", error)
            return
        self._readings, self._read_at = readings, self._clock()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The last readings, unless they are stale."""
        info = GaugeMetricFamily("matte_gpu_info", "GPUs of this host or container.", labels=["gpu", "name"])
        families = {name: GaugeMetricFamily(name, text, labels=["gpu"]) for name, text in _FIGURES.items()}
        if self._clock() - self._read_at <= STALE_S:
            for reading in self._readings:
                info.add_metric([str(reading.gpu), reading.name], 1)
                for name, value in reading.figures.items():
                    families[name].add_metric([str(reading.gpu)], value)
        return [info, *families.values()]

    def _read_gpu(self, number: int) -> Reading:
        nvml = self._nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(number)
        queries: dict[str, Callable[[], float]] = {
            "matte_gpu_busy_ratio": lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
            "matte_gpu_memory_used_bytes": lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used,
            "matte_gpu_memory_total_bytes": lambda: nvml.nvmlDeviceGetMemoryInfo(handle).total,
            "matte_gpu_temperature_celsius": lambda: nvml.nvmlDeviceGetTemperature(
                handle, nvml.NVML_TEMPERATURE_GPU
            ),
            "matte_gpu_power_watts": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
        }
        figures = {}
        for name, query in queries.items():
            try:
                figures[name] = float(query())
            except nvml.NVMLError:
                continue  # Not every GPU reports everything; a MIG partition reports little.
        return Reading(number, nvml.nvmlDeviceGetName(handle), figures)


@contextmanager
def watch_gpus(registry: CollectorRegistry) -> Iterator[None]:
    """Read the GPUs every few seconds while the context lasts. Without a GPU nothing happens."""
    nvml = _initialised()
    if nvml is None:
        yield
        return
    collector, stop = GpuCollector(nvml), threading.Event()

    def poll() -> None:
        collector.read()
        while not stop.wait(EVERY_S):
            collector.read()
        nvml.nvmlShutdown()

    registry.register(collector)
    threading.Thread(target=poll, name="nvml", daemon=True).start()
    try:
        yield
    finally:
        stop.set()
        registry.unregister(collector)


def _initialised() -> Any:
    """The module `pynvml`, connected to the driver, or None."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
