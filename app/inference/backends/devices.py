"""Where the network runs: what is asked for and what this machine has come in, "cpu" or "cuda" goes out, and which
8- and 16-bit numbers it multiplies.

TensorFlow knows for certain whether there is a GPU that it can use, but takes seconds and hundreds of megabytes to be
asked; so the system is asked first.
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
_INT8_FLAGS: Final = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
_FLOAT16_SINCE: Final = (7, 0)  # Volta, the first GPUs with tensor cores
_BFLOAT16_SINCE: Final = (8, 0)  # Ampere

_log = logging.getLogger(__name__)


def choose_device(asked: Device, gpu: int) -> tuple[str, int]:
    """ "cuda" or "cpu", and the GPU's index among those that TensorFlow sees. Raises LoadError."""
    if asked == "cpu" or (asked == "auto" and not may_have_gpu()):
        return "cpu", 0
    try:
        gpus = tensorflow().config.list_physical_devices("GPU")
    except NotInstalledError as error:
        if asked == "cuda":
            raise LoadError(f"MATTE_DEVICE=cuda: {error}; or set MATTE_DEVICE=cpu.") from None
        _log.warning("this machine's GPU is not used: %s", error)
        return "cpu", 0
    if asked == "cuda" and not gpus:
        raise LoadError(
            "MATTE_DEVICE=cuda, but TensorFlow sees no GPU. Install the `gpu` extra, check `nvidia-smi`, in "
            "a container pass the GPU on (`docker run --gpus all`); or set MATTE_DEVICE=cpu. With "
            "MATTE_LOG_LEVEL=debug and TF_CPP_MIN_LOG_LEVEL=0 TensorFlow says what it misses."
        )
    if not gpus:
        return "cpu", 0
    taken = gpus[gpu % len(gpus)]
    show_tensorflow([taken])
    return "cuda", gpus.index(taken)


def show_tensorflow(gpus: list[Any]) -> None:
    """TensorFlow takes these of its GPUs and no others. Raises LoadError where it has begun with others."""
    config = tensorflow().config
    try:
        config.set_visible_devices(gpus, "GPU")
        for each in gpus:
            config.experimental.set_memory_growth(each, True)
    except RuntimeError as error:
        raise LoadError(f"the devices of this process are already in use otherwise: {error}") from None


def sixteen_bits_of(config: ExecutionConfig) -> tuple[Narrow, ...]:
    """The 16-bit numbers that a place multiplies by itself, the better first: on GPUs float16 is as quick as bfloat16
    and eight times as fine."""
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
    """Whether this CPU adds up products of bytes natively (VNNI or AMX), by its Linux feature flags."""
    return not _INT8_FLAGS.isdisjoint(_cpu_flags(cpu_info))


def _cpu_flags(cpu_info: Path) -> list[str]:
    try:
        lines = cpu_info.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return next((line for line in lines if line.startswith("flags")), "").split()


def may_have_gpu(device_files: Path = DEVICE_FILES) -> bool:
    """Whether it is worth asking TensorFlow: the system shows one of NVIDIA's GPUs, or their driver does. A container
    has the files of those that were passed to it; the driver also knows those that have none before their first use,
    and those under Windows' Linux."""
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
