"""Choose the device, "cpu" or "cuda", and list the 8- and 16-bit types that it multiplies natively.

Only TensorFlow knows for certain whether it can use a GPU, but importing it takes seconds and hundreds of megabytes;
so the system is requested first.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, Final, Literal

from app.inference.backends.base import ExecutionConfig, LoadError
from app.inference.backends.precision import Narrow
from app.inference.backends.tensorflow import NotInstalledError, tensorflow

Device = Literal["auto", "cpu", "cuda"]

DEVICE_FILES: Final = Path("/dev")
CPU_INFO: Final = Path("/proc/cpuinfo")
_BFLOAT16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16"})
_INT8_FLAG: Final = "avx2"
_DOT_PRODUCT_FLAGS: Final = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
_FLOAT16_SINCE: Final = (7, 0)  # Volta, the first GPUs with tensor cores
_BFLOAT16_SINCE: Final = (8, 0)  # Ampere

_log = logging.getLogger(__name__)


def choose_device(requested: Device, gpu: int) -> tuple[str, int]:
    """Return "cuda" or "cpu", and the GPU's index among those that TensorFlow sees. Raises LoadError."""
    if requested == "cpu" or (requested == "auto" and not may_have_gpu()):
        return "cpu", 0
    try:
        gpus = tensorflow().config.list_physical_devices("GPU")
    except NotInstalledError as error:
        if requested == "cuda":
            raise LoadError(f"MATTE_DEVICE=cuda: {error}; or set MATTE_DEVICE=cpu.") from None
        _log.warning("this machine's GPU is not used: %s", error)
        return "cpu", 0
    if requested == "cuda" and not gpus:
        raise LoadError(
            "MATTE_DEVICE=cuda, but TensorFlow sees no GPU. Install the `gpu` extra, check `nvidia-smi`, in "
            "a container pass the GPU on (`docker run --gpus all`); or set MATTE_DEVICE=cpu. With "
            "MATTE_LOG_LEVEL=debug and TF_CPP_MIN_LOG_LEVEL=0 TensorFlow says what it misses."
        )
    if not gpus:
        return "cpu", 0
    chosen = gpus[gpu % len(gpus)]
    set_visible_gpus([chosen])
    return "cuda", gpus.index(chosen)


def set_visible_gpus(gpus: list[Any]) -> None:
    """Let TensorFlow use only these of its GPUs. Raises LoadError if it already uses others."""
    config = tensorflow().config
    try:
        config.set_visible_devices(gpus, "GPU")
        for each in gpus:
            config.experimental.set_memory_growth(each, True)
    except RuntimeError as error:
        raise LoadError(f"the devices of this process are already in use otherwise: {error}") from None


def native_16_bit_types(config: ExecutionConfig) -> tuple[Narrow, ...]:
    """The 16-bit types that the device multiplies natively, the better one first: on GPUs float16 is as fast as
    bfloat16, and its resolution is eight times as fine."""
    if config.device == "cpu":
        return ("bfloat16",) if has_bfloat16() else ()
    experimental = tensorflow().config.experimental
    gpu = tensorflow().config.list_physical_devices("GPU")[config.gpu]
    capability = experimental.get_device_details(gpu).get("compute_capability", (0, 0))
    since: dict[Narrow, tuple[int, int]] = {"float16": _FLOAT16_SINCE, "bfloat16": _BFLOAT16_SINCE}
    return tuple(kind for kind, first in since.items() if capability >= first)


def has_bfloat16(cpu_info: Path = CPU_INFO) -> bool:
    """Whether this CPU multiplies bfloat16 natively (AVX512-BF16 or AMX), by its Linux feature flags."""
    return not _BFLOAT16_FLAGS.isdisjoint(_cpu_flags(cpu_info))


def has_int8(cpu_info: Path = CPU_INFO) -> bool:
    """Whether networks in int8 are faster than in float32 on this CPU: with AVX2 or more, by its Linux feature
    flags."""
    return _INT8_FLAG in _cpu_flags(cpu_info)


def has_int8_dot_product(cpu_info: Path = CPU_INFO) -> bool:
    """Whether this CPU sums products of int8 in 32 bits (VNNI or AMX), by its Linux feature flags. Others sum two of
    them in 16 bits, which takes twice the time and saturates where all four factors are near their largest."""
    return not _DOT_PRODUCT_FLAGS.isdisjoint(_cpu_flags(cpu_info))


def _cpu_flags(cpu_info: Path) -> list[str]:
    try:
        lines = cpu_info.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return next((line for line in lines if line.startswith("flags")), "").split()


def may_have_gpu(device_files: Path = DEVICE_FILES) -> bool:
    """Whether it is worth importing TensorFlow: there is a device file of an NVIDIA GPU, or NVIDIA's driver reports
    one. A container has the files of the GPUs that were passed to it; the driver also reports GPUs without a file,
    before their first use and under WSL."""
    files = (path.name for path in device_files.glob("nvidia*"))
    return any(re.fullmatch(r"nvidia\d+", name) for name in files) or _driver_has_gpu()


def _driver_has_gpu() -> bool:
    try:
        import pynvml
    except ImportError:
        return False
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    try:
        return int(pynvml.nvmlDeviceGetCount()) > 0
    except pynvml.NVMLError:
        return False
    finally:
        pynvml.nvmlShutdown()
