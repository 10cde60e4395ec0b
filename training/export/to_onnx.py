"""An artifact as an ONNX file: the same layers and weights, in float32, compared with the artifact.

In: an artifact of a U²-Net. Out: one ONNX file for any number of pictures at a time, in one of two forms:

    pixels      `image` uint8 `[N,S,S,3]` RGB -> `alpha` float32 `[N,S,S,1]`: what the SavedModel takes and gives
    normalised  `input` float32 `[N,3,H,W]` of any size, by ImageNet's mean and deviation, which the file brings to
                the square bilinearly -> `alpha` float32 `[N,1,S,S]`: what rembg and its kind take and give

Weights carry the official names, so that the file can be imported again (`import_weights`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from model.contract import INPUT_NAME, OUTPUT_NAME, Manifest, verify
from model.u2net import CHANNEL_MEAN, CHANNEL_STD
from training.evaluation.predict import load_network
from training.export.parity_images import parity_images
from training.weights.artifact_weights import rebuild_network
from training.weights.batch_norm import BATCH_NORM_SUFFIX, CONVOLUTION_SUFFIX
from training.weights.official import FUSED, Array
from training.weights.onnx_file import DATA_KEY, GEOMETRY_KEY, LICENCE_KEY
from training.weights.onnx_weights import PARTS

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Form = Literal["pixels", "normalised"]

OPSET: Final = 18  # The first whose Resize takes axes.
PRODUCER: Final = "u2matte"
NORMALISED_INPUT: Final = "input"
BATCH: Final = "batch"  # the dimension whose size is free

# What ONNX Runtime may change in any pixel of the alpha: float32 sums in another order.
PARITY_TOLERANCE: Final = 1e-3

BILINEAR: Final = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}

_SAME_IN_BOTH: Final = {"Concatenate": ("Concat", {"axis": 1}), "Add": ("Add", {}), "ReLU": ("Relu", {})}


class OnnxExportError(RuntimeError):
    """The file was not made; the message says why."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was exported, and the largest difference of ONNX Runtime's alpha; None where that is not installed."""

    manifest: Manifest
    difference: float | None


def to_onnx(
    artifact: Path,
    file: Path,
    *,
    form: Form = "pixels",
    keep_batch_norm: bool = False,
    overwrite: bool = False,
) -> Exported:
    """Write `file`, whole or not at all. `keep_batch_norm`: not folded into the convolutions, so that what is trained
    further from the file goes on with its statistics.

    Raises ContractError, ArtifactWeightsError or OnnxExportError.
    """
    try:
        import onnx
    except ImportError:
        raise OnnxExportError("writing ONNX needs a package that is missing: pip install onnx") from None
    if file.exists() and not overwrite:
        raise OnnxExportError(f"{file} exists; choose another place or give --overwrite")
    manifest = verify(artifact)
    network = rebuild_network(artifact)
    model = onnx_model(network, manifest, form, keep_batch_norm=keep_batch_norm)
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString()
    difference = _difference(content, artifact, manifest, form)
    if difference is not None and not difference <= PARITY_TOLERANCE:
        raise OnnxExportError(f"ONNX Runtime's alpha differs from the artifact's by {difference:.5f}")
    _write(file, content)
    return Exported(manifest, difference)


def onnx_model(
    network: keras.Model, manifest: Manifest, form: Form, *, keep_batch_norm: bool = False
) -> ModelProto:
    """The network of `model.u2net` as it is served."""
    from onnx import helper

    translation = _Translation(keep_batch_norm=keep_batch_norm)
    entry = ENTRIES[form](translation, manifest.input_size)
    for layer in network.layers:
        translation.add(layer, entry)
    answer = _answer(translation, manifest.sharpness, form)
    graph = helper.make_graph(
        translation.nodes,
        manifest.name,
        [_picture(form, manifest.input_size)],
        [_alpha(form, manifest.input_size, answer)],
        [_tensor(name, value) for name, value in translation.weights.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    # Older runtimes refuse a file format newer than themselves; the one that came with the opset is old enough.
    version = helper.find_min_ir_version_for([opset])
    model = helper.make_model(graph, opset_imports=[opset], ir_version=version, producer_name=PRODUCER)
    helper.set_model_props(model, _properties(manifest))
    return model


class _Translation:
    """Nodes in the order in which they run, each named as what it gives, and the arrays that they name."""

    def __init__(self, *, keep_batch_norm: bool) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, Array] = {}
        self._keep_batch_norm = keep_batch_norm
        self._names: dict[str, str] = {}  # by layer, what its result is called
        self._pending: dict[str, keras.layers.Conv2D] = {}  # convolutions that wait for their batch norm

    def node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def weight(self, name: str, value: Array) -> str:
        self.weights[name] = value
        return name

    def add(self, layer: keras.Layer, entry: str) -> None:
        """A layer after those that it needs; `entry`: what the network's own input is called."""
        kind, name = type(layer).__name__, layer.name
        if isinstance(layer, keras.layers.InputLayer):
            self._names[name] = entry
            return
        inputs = [self._names[of] for of in _inputs(layer)]
        if isinstance(layer, keras.layers.Conv2D):
            self._names[name] = self._convolution(layer, inputs)
        elif isinstance(layer, keras.layers.BatchNormalization):
            self._names[name] = self._norm(layer, inputs)
        elif isinstance(layer, keras.layers.UpSampling2D):
            self._names[name] = self._enlargement(layer, inputs[0])
        elif isinstance(layer, keras.layers.MaxPooling2D):
            self._names[name] = self.node("MaxPool", inputs, name, kernel_shape=[2, 2], strides=[2, 2])
        else:
            op, attributes = _SAME_IN_BOTH[kind]
            self._names[name] = self.node(op, inputs, name, **attributes)

    def _convolution(self, layer: keras.layers.Conv2D, inputs: list[str]) -> str:
        name = layer.name
        kernel, bias = (np.asarray(weight, np.float64) for weight in layer.get_weights())
        if name.endswith(CONVOLUTION_SUFFIX) and not self._keep_batch_norm:
            self._pending[name.removesuffix(CONVOLUTION_SUFFIX)] = layer
            return inputs[0]
        return self._convolved(layer, inputs[0], kernel, bias)

    def _convolved(self, layer: keras.layers.Conv2D, picture: str, kernel: Array, bias: Array) -> str:
        name, dilations = layer.name, list(layer.dilation_rate)
        around = [d * (side - 1) // 2 for d, side in zip(dilations, kernel.shape[:2], strict=True)]
        weights = [
            self.weight(f"{name}.weight", kernel.transpose(3, 2, 0, 1).astype(np.float32)),
            self.weight(f"{name}.bias", bias.astype(np.float32)),
        ]
        return self.node("Conv", [picture, *weights], name, dilations=dilations, pads=[*around, *around])

    def _norm(self, layer: keras.layers.BatchNormalization, inputs: list[str]) -> str:
        """After its convolution, or folded into it, as `folding` does."""
        gamma, beta, mean, variance = (np.asarray(weight, np.float64) for weight in layer.get_weights())
        if self._keep_batch_norm:
            values = (gamma, beta, mean, variance)
            inputs += [
                self.weight(f"{layer.name}.{part}", value.astype(np.float32))
                for part, value in zip(PARTS, values, strict=True)
            ]
            return self.node("BatchNormalization", inputs, layer.name, epsilon=layer.epsilon)
        convolution = self._pending.pop(layer.name.removesuffix(BATCH_NORM_SUFFIX))
        kernel, bias = (np.asarray(weight, np.float64) for weight in convolution.get_weights())
        factor = gamma / np.sqrt(variance + layer.epsilon)
        return self._convolved(convolution, inputs[0], kernel * factor, (bias - mean) * factor + beta)

    def _enlargement(self, layer: keras.layers.UpSampling2D, picture: str) -> str:
        """By scales: with sizes throughout, the built-in network took ONNX Runtime 1.32 an eighth longer."""
        scales = self.weight(f"{layer.name}.scales", np.array((1, 1, *layer.size), np.float32))
        return self.node("Resize", [picture, "", scales], layer.name, **BILINEAR)


def _inputs(layer: keras.Layer) -> list[str]:
    """The layers whose results `layer` takes."""
    tensors = layer.input if isinstance(layer.input, list) else [layer.input]
    return [tensor._keras_history.operation.name for tensor in tensors]


def _pixels(translation: _Translation, size: int) -> str:
    """From `image` uint8 `[N,S,S,3]`."""
    from onnx import TensorProto

    mean = translation.weight("mean", np.array(CHANNEL_MEAN, np.float32))
    deviation = translation.weight("deviation", np.array(CHANNEL_STD, np.float32))
    full = translation.weight("full", np.array(255, np.float32))
    cast = translation.node("Cast", [INPUT_NAME], "numbers", to=TensorProto.FLOAT)
    scaled = translation.node("Div", [cast, full], "scaled")
    centred = translation.node("Sub", [scaled, mean], "centred")
    normalised = translation.node("Div", [centred, deviation], "normalised")
    return translation.node("Transpose", [normalised], "picture", perm=[0, 3, 1, 2])


def _normalised(translation: _Translation, size: int) -> str:
    """From `input` float32 `[N,3,H,W]`."""
    sizes = translation.weight("square.sizes", np.array((size, size), np.int64))
    return translation.node("Resize", [NORMALISED_INPUT, "", "", sizes], "square", axes=[2, 3], **BILINEAR)


ENTRIES: Final[Mapping[Form, Callable[[_Translation, int], str]]] = {
    "pixels": _pixels,
    "normalised": _normalised,
}


def _answer(translation: _Translation, sharpness: float, form: Form) -> str:
    logits = FUSED
    if sharpness != 1:
        factor = translation.weight("sharpness", np.array(sharpness, np.float32))
        logits = translation.node("Mul", [logits, factor], "sharpened")
    if form == "normalised":
        return translation.node("Sigmoid", [logits], OUTPUT_NAME)
    alpha = translation.node("Sigmoid", [logits], "planes")
    return translation.node("Transpose", [alpha], OUTPUT_NAME, perm=[0, 2, 3, 1])


def _picture(form: Form, size: int) -> Any:
    """The description of the file's input."""
    from onnx import TensorProto, helper

    if form == "pixels":
        return helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, [BATCH, size, size, 3])
    return helper.make_tensor_value_info(NORMALISED_INPUT, TensorProto.FLOAT, [BATCH, 3, "height", "width"])


def _alpha(form: Form, size: int, name: str) -> Any:
    """The description of its output."""
    from onnx import TensorProto, helper

    shape: list[str | int | None] = [BATCH, size, size, 1] if form == "pixels" else [BATCH, 1, size, size]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _tensor(name: str, value: Array) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.asarray(value, order="C"), name)


def _properties(manifest: Manifest) -> dict[str, str]:
    """What a person wants to know of the file; an import reads a part of it."""
    return {
        GEOMETRY_KEY: manifest.geometry,
        DATA_KEY: manifest.data,
        LICENCE_KEY: manifest.licence,
        "u2matte.model": manifest.label,
        "u2matte.sha256": manifest.sha256,
        "u2matte.architecture": manifest.architecture,
    }


def _difference(content: bytes, artifact: Path, manifest: Manifest, form: Form) -> float | None:
    """The largest difference of ONNX Runtime's alpha from the SavedModel's, on two pictures at a time."""
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    squares = parity_images(manifest.input_size)
    given = squares if form == "pixels" else normalised_picture(squares)
    alphas = np.asarray(session.run(None, {session.get_inputs()[0].name: given})[0])
    expected = load_network(artifact)(squares)
    return float(np.abs(alphas.reshape(expected.shape) - expected).max())


def normalised_picture(squares: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pictures `[N,S,S,3]` as the form `normalised` takes them."""
    values = (squares / 255 - np.array(CHANNEL_MEAN)) / np.array(CHANNEL_STD)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2), np.float32)


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    partial = Path(name)
    try:
        with os.fdopen(number, "wb") as opened:
            opened.write(content)
        partial.chmod(0o644)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
