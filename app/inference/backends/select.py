"""Load the network of a SavedModel with the runtime that suits the machine, OpenVINO or TensorFlow.

On CPUs OpenVINO starts in a third of the time and needs a third of the memory, for the same throughput
(tests/bench/bench_runtimes.py). TensorFlow runs on GPUs, for models that OpenVINO does not run, and where OpenVINO is
not installed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from app.inference.backends import openvino, precision, tensorflow
from app.inference.backends.base import ExecutionConfig, LoadError, Predict
from app.inference.backends.compiled_cache import CompiledCache
from app.inference.backends.devices import (
    Device,
    has_int8,
    has_int8_dot_product,
    native_16_bit_types,
    set_visible_gpus,
)
from app.inference.backends.openvino import OpenVinoModel
from app.inference.backends.precision import Narrow, Precision
from app.inference.backends.tensorflow import TensorFlowModel
from model import contract
from model.cascade import stages
from model.contract import Manifest

Runtime = Literal["auto", "tensorflow", "openvino"]

OPENVINO: Final = "openvino"
TENSORFLOW: Final = "tensorflow"
NAMES: Final = {OPENVINO: "OpenVINO", TENSORFLOW: "TensorFlow"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedNetwork:
    """A network that is ready to run, for pictures of all input sizes of its cascade, its runtime, and its
    precision."""

    run: Predict
    runtime: str
    precision: str


def device_for(runtime: Runtime, device: Device) -> Device:
    """The device to look for: OpenVINO runs on CPUs only. Raises LoadError if it is to use a GPU."""
    if runtime != OPENVINO:
        return device
    if device == "cuda":
        raise LoadError(
            "MATTE_RUNTIME=openvino runs on CPUs only: for MATTE_DEVICE=cuda set it to auto or tensorflow."
        )
    return "cpu"


def load_network(
    artifact: Path,
    manifest: Manifest,
    config: ExecutionConfig,
    runtime: Runtime,
    requested: Precision,
    cache_dir: Path | None = None,
) -> LoadedNetwork:
    """Load the network of a verified artifact. `cache_dir` caches what is compiled, for the next start.

    Raises LoadError for a model, a precision or a runtime that is not available, ContractError for an unreadable
    activations.json, MemoryError if there is too little memory.
    """
    narrow = native_16_bit_types(config)
    sizes = [stage.size for stage in stages(manifest)]
    refusal: LoadError | None = None
    if config.device == "cpu" and runtime != TENSORFLOW:
        activations = contract.read_activations(artifact)
        possible = (precision.EIGHT_BITS, *narrow) if activations and has_int8() else narrow
        precision.check(requested, possible)
        try:
            model = OpenVinoModel(
                artifact / contract.SAVED_MODEL_DIR,
                manifest.input_size,
                config,
                others=sizes,
                activations=activations,
                cache=lambda compiler: CompiledCache(cache_dir, manifest.sha256, compiler),
            )
            loaded = _load_by_openvino(model, manifest.input_size, possible, requested)
            _log_cost(loaded.precision, requested)
            return loaded
        except LoadError as error:
            if runtime == OPENVINO:
                raise _without_alternative(error) from None
            refusal = error
    precision.check(requested, narrow)
    _check_tensorflow(runtime, refusal)
    if config.device == "cpu":
        set_visible_gpus([])
    any_size = len(sizes) > 1
    tensorflow_model = TensorFlowModel(artifact / contract.SAVED_MODEL_DIR, config, any_size=any_size)
    run, chosen = precision.choose(tensorflow_model, manifest.input_size, narrow, requested)
    return LoadedNetwork(run, TENSORFLOW, chosen)


def _without_alternative(refusal: LoadError) -> LoadError:
    """The error of a service that is to run OpenVINO and nothing else."""
    if isinstance(refusal, openvino.NotInstalledError):
        return LoadError(f"MATTE_RUNTIME=openvino: {refusal}. Install it, or set it to auto.")
    return refusal


def _check_tensorflow(runtime: Runtime, refusal: LoadError | None) -> None:
    """Raise LoadError where TensorFlow is to run the network and is not installed; else log why it runs it. `refusal`
    is why OpenVINO does not, if it was asked."""
    try:
        tensorflow.tensorflow()
    except tensorflow.NotInstalledError as missing:
        if refusal is not None:
            raise LoadError(_by_neither(refusal, missing)) from None
        setting = f"MATTE_RUNTIME={runtime}: " if runtime == TENSORFLOW else ""
        raise LoadError(f"{setting}{missing}; or set MATTE_RUNTIME=auto.") from None
    if refusal is not None:
        missing_openvino = isinstance(refusal, openvino.NotInstalledError)
        level = logging.INFO if missing_openvino else logging.WARNING
        _log.log(level, "TensorFlow runs the network: %s", refusal)


def _by_neither(refusal: LoadError, missing: LoadError) -> str:
    """What to do comes first: OpenVINO's message is many lines long, with places in its source."""
    message = " ".join(str(refusal).split())
    if isinstance(refusal, openvino.NotInstalledError):
        return f"{message}, and {missing}"
    return f"OpenVINO does not run this model, and {missing}. OpenVINO says: {message}"


def _load_by_openvino(
    model: OpenVinoModel, size: int, possible: Sequence[Narrow], requested: Precision
) -> LoadedNetwork:
    """Load in the precision that an earlier start chose, or choose it by a probe. Raises LoadError."""
    cached = model.cached_choice(requested)
    run, chosen = cached or precision.choose(model, size, possible, requested)
    if cached is None:
        model.store_choice(requested, chosen)
    return LoadedNetwork(run, OPENVINO, chosen)


def _log_cost(chosen: str, requested: Precision) -> None:
    """Log what a CPU costs that could be faster, by the ratios of docs/capacity.md."""
    if chosen == precision.EIGHT_BITS and not has_int8_dot_product():
        _log.info(
            "this CPU has neither VNNI nor AMX: the network in 8 bits takes half of float32's time here, a quarter "
            "with them"
        )
    elif chosen == precision.FLOAT32 and requested == "auto":
        _log.info(
            "the network runs in float32: 8 bits, which take half of its time or less, need an x86 CPU with AVX2 "
            "and a model that was exported with --calibrate"
        )
