"""A SavedModel and where it is to run come in; the network, run by the library that suits, goes out.

On CPUs OpenVINO starts in a third of the time and needs a third of the memory, for the same work
(tests/bench/bench_runtimes.py). GPUs are TensorFlow's, and so are models that OpenVINO does not run, and machines
that it is not installed on.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from app.network import precision
from app.network.devices import Device, show_tensorflow, sixteen_bits_of
from app.network.openvino_model import NotInstalledError, OpenVinoModel
from app.network.precision import Precision
from app.network.running import LoadError, Place, Predict
from app.network.tensorflow_model import TensorFlowModel

Runtime = Literal["auto", "tensorflow", "openvino"]

OPENVINO: Final = "openvino"
TENSORFLOW: Final = "tensorflow"
NAMES: Final = {OPENVINO: "OpenVINO", TENSORFLOW: "TensorFlow"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Network:
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


def network(path: Path, size: int, place: Place, runtime: Runtime, asked: Precision) -> Network:
    """The SavedModel at `path`, whose pictures are `size` pixels a side.

    Raises LoadError for a model, a precision or a runtime that is not to be had, MemoryError where memory is short.
    """
    possible = sixteen_bits_of(place)
    precision.check(asked, possible)
    if place.device == "cpu" and runtime != TENSORFLOW:
        try:
            run, chosen = precision.choose(OpenVinoModel(path, size, place), size, possible, asked)
            return Network(run, OPENVINO, chosen)
        except NotInstalledError as error:
            if runtime == OPENVINO:
                raise LoadError(f"MATTE_RUNTIME=openvino: {error}. Install it, or set it to auto.") from None
            _log.info("TensorFlow runs the network: %s", error)
        except LoadError as error:
            if runtime == OPENVINO:
                raise
            _log.warning("TensorFlow runs the network: %s", error)
    if place.device == "cpu":
        show_tensorflow([])
    run, chosen = precision.choose(TensorFlowModel(path, place), size, possible, asked)
    return Network(run, TENSORFLOW, chosen)
