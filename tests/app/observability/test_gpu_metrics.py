from __future__ import annotations

import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from app.observability import gpu_metrics
from app.observability.gpu_metrics import STALE_S, GpuCollector
from tests.support.services import until

GPU = {"gpu": "0"}


class FakeError(Exception):
    """Stands for pynvml.NVMLError."""


class FakeNvml(ModuleType):
    """As much of pynvml as is asked: two GPUs, of which the second tells neither load nor power."""

    NVMLError = FakeError
    NVML_TEMPERATURE_GPU = 0

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.failing = False
        self.calls: list[str] = []

    def nvmlInit(self) -> None:  # noqa: N802
        self.calls.append("init")
        if self.failing:
            raise FakeError("Driver Not Loaded")

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.calls.append("shutdown")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        if self.failing:
            raise FakeError("GPU is lost")
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        return f"GPU model {handle}"

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:  # noqa: N802
        self._refuse(handle)
        return SimpleNamespace(gpu=75, memory=20)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(used=3_000 + handle, total=80_000, free=77_000)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:  # noqa: N802
        assert sensor == self.NVML_TEMPERATURE_GPU
        return 61

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        self._refuse(handle)
        return 312_500

    def _refuse(self, handle: int) -> None:
        if handle == 1:
            raise FakeError("Not Supported")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


def registry_of(devices: GpuCollector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(devices)
    return registry


def test_each_gpu_has_its_samples_in_base_units(nvml: FakeNvml) -> None:
    devices = GpuCollector(nvml)
    devices.read()
    value = registry_of(devices).get_sample_value
    assert value("matte_gpu_info", {"gpu": "0", "name": "GPU model 0"}) == 1
    assert value("matte_gpu_busy_ratio", GPU) == 0.75
    assert value("matte_gpu_memory_used_bytes", GPU) == 3_000
    assert value("matte_gpu_memory_total_bytes", GPU) == 80_000
    assert value("matte_gpu_temperature_celsius", GPU) == 61
    assert value("matte_gpu_power_watts", GPU) == 312.5


def test_what_a_gpu_does_not_tell_is_left_out(nvml: FakeNvml) -> None:
    devices = GpuCollector(nvml)
    devices.read()
    value = registry_of(devices).get_sample_value
    assert value("matte_gpu_memory_used_bytes", {"gpu": "1"}) == 3_001
    assert value("matte_gpu_busy_ratio", {"gpu": "1"}) is None
    assert value("matte_gpu_power_watts", {"gpu": "1"}) is None


def test_a_lost_driver_leaves_the_last_figures_and_then_none(nvml: FakeNvml) -> None:
    clock = Clock()
    devices = GpuCollector(nvml, clock)
    devices.read()
    nvml.failing = True
    clock.now += STALE_S
    devices.read()
    registry = registry_of(devices)
    assert registry.get_sample_value("matte_gpu_busy_ratio", GPU) == 0.75
    clock.now += 1
    assert registry.get_sample_value("matte_gpu_busy_ratio", GPU) is None
    generate_latest(registry)


async def test_gpus_are_watched_while_the_context_lasts(nvml: FakeNvml) -> None:
    registry = CollectorRegistry()
    with gpu_metrics.watch_gpus(registry):
        await until(lambda: registry.get_sample_value("matte_gpu_busy_ratio", GPU) == 0.75)
    await until(lambda: "shutdown" in nvml.calls)
    assert b"matte_gpu" not in generate_latest(registry)


def test_without_a_driver_there_is_nothing(nvml: FakeNvml) -> None:
    nvml.failing = True
    registry = CollectorRegistry()
    with gpu_metrics.watch_gpus(registry):
        assert generate_latest(registry) == b""
    assert nvml.calls == ["init"]


def test_without_the_module_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    registry = CollectorRegistry()
    with gpu_metrics.watch_gpus(registry):
        assert generate_latest(registry) == b""


def test_importing_it_imports_no_nvml() -> None:
    check = "import app.observability.gpu_metrics, sys; sys.exit('pynvml' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)
