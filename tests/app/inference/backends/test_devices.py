from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from app.inference.backends import devices
from app.inference.backends.base import ExecutionConfig, LoadError
from app.inference.backends.devices import (
    choose_device,
    has_bfloat16,
    has_int8,
    has_int8_dot_product,
    may_have_gpu,
    native_16_bit_types,
)
from app.inference.backends.precision import Narrow
from app.inference.backends.tensorflow import tensorflow


class Driver(ModuleType):
    """`pynvml` with so many GPUs; with -1 there is no driver, with -2 it does not answer."""

    class NVMLError(Exception):
        """As NVML's."""

    def __init__(self, gpus: int) -> None:
        super().__init__("pynvml")
        self.gpus = gpus
        self.open = 0

    def nvmlInit(self) -> None:  # noqa: N802
        if self.gpus == -1:
            raise self.NVMLError
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        if self.gpus == -2:
            raise self.NVMLError
        return self.gpus


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    made = Driver(-1)
    monkeypatch.setitem(sys.modules, "pynvml", made)
    return made


@pytest.mark.parametrize(
    ("name", "expected"), [("nvidia0", True), ("nvidia12", True), ("nvidiactl", False), ("sda", False)]
)
@pytest.mark.usefixtures("driver")
def test_a_gpus_device_file_shows_it(tmp_path: Path, name: str, expected: bool) -> None:
    (tmp_path / name).touch()
    assert may_have_gpu(tmp_path) is expected


@pytest.mark.parametrize(("gpus", "expected"), [(2, True), (0, False), (-1, False), (-2, False)])
def test_else_the_driver_is_asked(driver: Driver, tmp_path: Path, gpus: int, expected: bool) -> None:
    driver.gpus = gpus
    assert may_have_gpu(tmp_path) is expected
    assert driver.open == 0


def test_without_the_drivers_module_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert not may_have_gpu(tmp_path)


@pytest.mark.parametrize("asked", ["cpu", "auto"])
def test_tensorflow_is_not_asked_where_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, asked: devices.Device
) -> None:
    def import_it() -> ModuleType:
        raise AssertionError

    monkeypatch.setattr(devices, "may_have_gpu", lambda: False)
    monkeypatch.setattr(devices, "tensorflow", import_it)
    assert choose_device(asked, 0) == ("cpu", 0)


@pytest.mark.parametrize(("gpu", "index"), [(0, 0), (1, 1), (2, 0)])
@pytest.mark.parametrize("asked", ["auto", "cuda"])
def test_gpus_that_tensorflow_sees_are_taken_in_turn(
    monkeypatch: pytest.MonkeyPatch, asked: devices.Device, gpu: int, index: int
) -> None:
    shown: list[list[str]] = []
    monkeypatch.setattr(devices, "may_have_gpu", lambda: True)
    monkeypatch.setattr(devices, "set_visible_gpus", shown.append)
    monkeypatch.setattr(tensorflow().config, "list_physical_devices", lambda _kind: ["first", "second"])
    assert choose_device(asked, gpu) == ("cuda", index)
    assert shown == [[["first", "second"][index]]]


def test_gpu_without_tensorflow_is_left_alone_or_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(devices, "may_have_gpu", lambda: True)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert choose_device("auto", 0) == ("cpu", 0)
    assert "this machine's GPU is not used: TensorFlow is not installed" in caplog.text
    with pytest.raises(LoadError, match=r"MATTE_DEVICE=cuda: TensorFlow is not installed: .*u2matte\[gpu\]"):
        choose_device("cuda", 0)


def test_gpu_that_tensorflow_does_not_see_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "may_have_gpu", lambda: True)
    monkeypatch.setattr(tensorflow().config, "list_physical_devices", lambda _kind: [])
    assert choose_device("auto", 0) == ("cpu", 0)
    with pytest.raises(LoadError, match=r"MATTE_DEVICE=cuda, but TensorFlow sees no GPU.*MATTE_DEVICE=cpu"):
        choose_device("cuda", 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flags : fpu amx_bf16\n", True),
        ("flags : fpu avx512_bf16 x\n", True),
        ("flags : fpu\n", False),
        ("", False),
    ],
)
def test_bfloat16_is_read_from_the_cpu_flags(tmp_path: Path, text: str, expected: bool) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(text)
    assert has_bfloat16(info) is expected


@pytest.mark.parametrize(
    ("text", "int8", "dot_product"),
    [
        ("flags : fpu avx2 avx512f avx512_vnni\n", True, True),
        ("flags : fpu avx2 avx_vnni\n", True, True),
        ("flags : fpu avx2 fma\n", True, False),
        ("flags : fpu sse4_2 avx\n", False, False),
        ("", False, False),
    ],
)
def test_int8_is_read_from_the_cpu_flags(tmp_path: Path, text: str, int8: bool, dot_product: bool) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(text)
    assert (has_int8(info), has_int8_dot_product(info)) == (int8, dot_product)


def test_missing_cpu_info_means_no_narrow_types(tmp_path: Path) -> None:
    nowhere = tmp_path / "none"
    assert not has_bfloat16(nowhere)
    assert not has_int8(nowhere)


@pytest.mark.parametrize(("has_it", "expected"), [(True, ("bfloat16",)), (False, ())])
def test_a_cpu_has_bfloat16_or_no_16_bits(
    monkeypatch: pytest.MonkeyPatch, has_it: bool, expected: tuple[Narrow, ...]
) -> None:
    monkeypatch.setattr(devices, "has_bfloat16", lambda: has_it)
    assert native_16_bit_types(ExecutionConfig("cpu", 1)) == expected


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"compute_capability": (9, 0)}, ("float16", "bfloat16")),
        ({"compute_capability": (8, 0)}, ("float16", "bfloat16")),
        ({"compute_capability": (7, 5)}, ("float16",)),
        ({"compute_capability": (6, 1)}, ()),
        ({}, ()),
    ],
)
def test_a_gpus_16_bits_go_by_its_compute_capability(
    monkeypatch: pytest.MonkeyPatch, details: dict[str, tuple[int, int]], expected: tuple[Narrow, ...]
) -> None:
    config = tensorflow().config
    monkeypatch.setattr(config, "list_physical_devices", lambda _kind: ["first", "second"])
    asked = []
    monkeypatch.setattr(config.experimental, "get_device_details", lambda gpu: asked.append(gpu) or details)
    assert native_16_bit_types(ExecutionConfig("cuda", 1, gpu=1)) == expected
    assert asked == ["second"]
