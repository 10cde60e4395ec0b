"""A SavedModel and where it is to run come in; the network, run by the library that suits, goes out.

On CPUs OpenVINO starts in a third of the time and needs a third of the memory, for the same work
(tests/bench/bench_runtimes.py). GPUs are TensorFlow's, and so are models that OpenVINO does not run, and machines
that it is not installed on.
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
from app.inference.backends.devices import Device, has_int8, show_tensorflow, sixteen_bits_of
from app.inference.backends.openvino import OpenVinoModel
from app.inference.backends.precision import Narrow, Precision
from app.inference.backends.tensorflow import TensorFlowModel
from model import contract
from model.contract import Manifest

Runtime = Literal["auto", "tensorflow", "openvino"]

OPENVINO: Final = "openvino"
TENSORFLOW: Final = "tensorflow"
NAMES: Final = {OPENVINO: "OpenVINO", TENSORFLOW: "TensorFlow"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedNetwork:
    """A network that is ready to run, what runs it, and in which precision."""

    run: Predict
    runtime: str
    precision: str


def device_for(runtime: Runtime, device: Device) -> Device:
    """The device to look for: OpenVINO runs on CPUs alone. Raises LoadError if it is to do more."""
    if runtime != OPENVINO:
        return device
    if device == "cuda":
        raise LoadError(
            "MATTE_RUNTIME=openvino runs on CPUs alone: for MATTE_DEVICE=cuda set it to auto or tensorflow."
        )
    return "cpu"


def network(
    artifact: Path,
    manifest: Manifest,
    config: ExecutionConfig,
    runtime: Runtime,
    asked: Precision,
    cache_dir: Path | None = None,
) -> LoadedNetwork:
    """The network of an artifact that has been verified. `cache_dir` keeps what is compiled for the next start.

    Raises LoadError for a model, a precision or a runtime that is not to be had, ContractError for an unreadable
    activations.json, MemoryError where memory is short.
    """
    narrow = sixteen_bits_of(config)
    refusal: LoadError | None = None
    if config.device == "cpu" and runtime != TENSORFLOW:
        activations = contract.read_activations(artifact)
        possible = (precision.EIGHT_BITS, *narrow) if activations and has_int8() else narrow
        precision.check(asked, possible)
        try:
            model = OpenVinoModel(
                artifact / contract.SAVED_MODEL_DIR,
                manifest.input_size,
                config,
                activations=activations,
                cache=lambda compiler: CompiledCache(cache_dir, manifest.sha256, compiler),
            )
            return _by_openvino(model, manifest.input_size, possible, asked)
        except LoadError as error:
            if runtime == OPENVINO:
                raise _without_alternative(error) from None
            refusal = error
    precision.check(asked, narrow)
    _check_tensorflow(runtime, refusal)
    if config.device == "cpu":
        show_tensorflow([])
    tensorflow_model = TensorFlowModel(artifact / contract.SAVED_MODEL_DIR, config)
    run, chosen = precision.choose(tensorflow_model, manifest.input_size, narrow, asked)
    return LoadedNetwork(run, TENSORFLOW, chosen)


def _without_alternative(refusal: LoadError) -> LoadError:
    """The error of a service that is to run OpenVINO and nothing else."""
    if isinstance(refusal, openvino.NotInstalledError):
        return LoadError(f"MATTE_RUNTIME=openvino: {refusal}. Install it, or set it to auto.")
    return refusal


def _check_tensorflow(runtime: Runtime, refusal: LoadError | None) -> None:
    """Raise LoadError where TensorFlow is to run the network and is not installed; else say why it is its turn.
    `refusal` is why OpenVINO does not run it, if it was asked."""
    try:
        tensorflow.tensorflow()
    except tensorflow.NotInstalledError as missing:
        if refusal is not None:
            raise LoadError(_by_neither(refusal, missing)) from None
        asked = f"MATTE_RUNTIME={runtime}: " if runtime == TENSORFLOW else ""
        raise LoadError(f"{asked}{missing}; or set MATTE_RUNTIME=auto.") from None
    if refusal is not None:
        missing_openvino = isinstance(refusal, openvino.NotInstalledError)
        level = logging.INFO if missing_openvino else logging.WARNING
        _log.log(level, "TensorFlow runs the network: %s", refusal)


def _by_neither(refusal: LoadError, missing: LoadError) -> str:
    """What to do comes first: OpenVINO's words are many lines, with places in its source."""
    said = " ".join(str(refusal).split())
    if isinstance(refusal, openvino.NotInstalledError):
        return f"{said}, and {missing}"
    return f"OpenVINO does not run this model, and {missing}. OpenVINO says: {said}"


def _by_openvino(
    model: OpenVinoModel, size: int, possible: Sequence[Narrow], asked: Precision
) -> LoadedNetwork:
    """As it was chosen at an earlier start, or by a probe. Raises LoadError."""
    if (kept := model.remembered(asked)) is not None:
        return LoadedNetwork(kept[0], OPENVINO, kept[1])
    run, chosen = precision.choose(model, size, possible, asked)
    model.remember(asked, chosen)
    return LoadedNetwork(run, OPENVINO, chosen)
