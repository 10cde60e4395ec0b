"""A served network as an ONNX file, for peers that run ONNX: the same layers and the same weights, in float32.

In: an artifact. Out: the file, and how far ONNX Runtime's alpha is from TensorFlow's. Its input is a picture float32
`[1,3,H,W]` of any size, normalised by ImageNet's mean and deviation (peers do that themselves, so the network's own
normalisation is left off), and first brought to the network's square; its output is alpha float32 `[1,1,S,S]`, 0..1.
The file is written by `write_onnx` in the peer's Python: so the project does not need the package `onnx`.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import skimage.data
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from model import contract

MEAN: Final = np.array((0.485, 0.456, 0.406))
DEVIATION: Final = np.array((0.229, 0.224, 0.225))
GRAPH_FILE: Final = "graph.json"
WEIGHTS_FILE: Final = "weights.npz"
WRITER: Final = Path(__file__).with_name("write_onnx.py")

_PICTURE: Final = "picture"
_SQUARE: Final = "square"
_NORMALISATION: Final = frozenset({"Cast", "Sub", "RealDiv"})
_SAME_IN_BOTH: Final = {"Relu": "Relu", "Sigmoid": "Sigmoid", "AddV2": "Add", "Mul": "Mul"}

Tensor = Any  # TensorFlow has no types.
Operation = Any
Attributes = dict[str, int | str | list[int]]
Evaluate = Callable[[Tensor], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Node:
    """One ONNX operator; an input that is left out is the empty name."""

    op: str
    inputs: list[str]
    output: str
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OnnxGraph:
    """Nodes in the order in which they run, and the arrays that they name."""

    nodes: list[Node]
    weights: dict[str, NDArray[Any]]
    output: str

    def save(self, folder: Path) -> None:
        graph = {
            "input": _PICTURE,
            "output": self.output,
            "nodes": [asdict(node) for node in self.nodes],
        }
        (folder / GRAPH_FILE).write_text(json.dumps(graph))
        np.savez(folder / WEIGHTS_FILE, **self.weights)


@dataclass(frozen=True, slots=True)
class Network:
    """The artifact's graph, its variables made constants, and a session to compute parts of it, in float32."""

    session: Any
    entry: Tensor
    answer: Tensor

    @property
    def size(self) -> int:
        return int(self.entry.shape[1])

    def alpha(self, square: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Alpha `[S,S]` of a picture `[S,S,3]`."""
        return np.asarray(self.session.run(self.answer, {self.entry: square[None]}), np.float32)[0, :, :, 0]


def export(artifact: Path, python: Path, file: Path) -> float:
    """Write the file by a Python that has onnx and onnxruntime; the largest difference of the alphas of a portrait.

    Raises NotImplementedError for a network that is no U²-Net, subprocess.CalledProcessError if it cannot be written.
    """
    network = load(artifact)
    side = (network.size, network.size)
    square = np.asarray(cv2.resize(skimage.data.astronaut(), side, interpolation=cv2.INTER_AREA), np.uint8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        picture, alpha = folder / "picture.npy", folder / "alpha.npy"
        onnx_graph(network).save(folder)
        np.save(picture, normalised(square))
        subprocess.run([python, WRITER, folder, file, picture, alpha], check=True)
        return float(np.abs(np.load(alpha)[0, 0] - network.alpha(square)).max())


def load(artifact: Path) -> Network:
    """The network as the SavedModel has it; what the service makes of it when it loads is not asked."""
    tf.config.set_visible_devices([], "GPU")  # The comparison is one of CPUs.
    saved = tf.saved_model.load(str(artifact / contract.SAVED_MODEL_DIR))
    frozen = convert_variables_to_constants_v2(saved.signatures[contract.SIGNATURE])
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(frozen.graph.as_graph_def(), name="")
        (entry,), (answer,) = (
            [graph.get_tensor_by_name(tensor.name) for tensor in ends]
            for ends in (frozen.inputs, frozen.outputs)
        )
        once = tf.compat.v1.ConfigProto()  # Optimising what runs once would take longer than running it.
        once.graph_options.rewrite_options.disable_meta_optimizer = True
        return Network(tf.compat.v1.Session(graph=graph, config=once), entry, answer)


def normalised(square: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A picture `[S,S,3]` as a peer gives it to its network: `[1,3,S,S]`."""
    return ((square / 255 - MEAN) / DEVIATION).astype(np.float32).transpose(2, 0, 1)[None]


def onnx_graph(network: Network) -> OnnxGraph:
    """Translate a network. Raises NotImplementedError for an operation that U²-Net has not."""
    translation = _Translation(network.size, network.session.run)
    for operation in network.entry.graph.get_operations():  # each after those that it needs
        translation.add(operation)
    return OnnxGraph(translation.nodes, translation.weights, translation.names[network.answer.op.name])


class _Translation:
    """What was translated so far, and under which ONNX name the result of each operation is known that depends on
    the picture. What depends on constants alone is computed where it is needed, and becomes a weight."""

    def __init__(self, size: int, evaluate: Evaluate) -> None:
        self.nodes: list[Node] = []
        self.weights: dict[str, NDArray[Any]] = {}
        self.names: dict[str, str] = {}
        self._evaluate = evaluate
        self._resize(_SQUARE, _PICTURE, "sizes", np.array((size, size)))

    def add(self, operation: Operation) -> None:
        kind, name, inputs = operation.type, operation.name, operation.inputs
        if kind == "Placeholder":
            self.names[name] = _SQUARE
        elif not any(tensor.op.name in self.names for tensor in inputs):
            return
        elif kind in _NORMALISATION or kind == "Identity":
            self.names[name] = self._known(inputs[0])
        elif kind == "Conv2D":
            self.names[name] = name  # The node is made with its bias, which always follows.
        elif kind == "BiasAdd":
            self._convolution(inputs[0].op, operation)
        elif kind == "MaxPool":
            sides = {"kernel_shape": operation.get_attr("ksize"), "strides": operation.get_attr("strides")}
            attributes: Attributes = {key: list(values[1:3]) for key, values in sides.items()}
            self._node("MaxPool", [self._known(inputs[0])], name, {"auto_pad": "SAME_UPPER", **attributes})
        elif kind == "ResizeBilinear":
            self._enlargement(operation)
        elif kind == "ConcatV2":
            self._node("Concat", [self._known(part) for part in inputs[:-1]], name, {"axis": 1})
        elif kind in _SAME_IN_BOTH:
            self._node(_SAME_IN_BOTH[kind], [self._known(part) for part in inputs], name)
        else:
            raise NotImplementedError(f"{name}: no translation of {kind}")

    def _node(self, op: str, inputs: list[str], name: str, attributes: Attributes | None = None) -> None:
        self.nodes.append(Node(op, inputs, name, attributes or {}))
        self.names[name] = name

    def _known(self, tensor: Tensor) -> str:
        name = tensor.op.name
        return self.names[name] if name in self.names else self._weight(name, self._evaluate(tensor))

    def _weight(self, name: str, value: NDArray[Any]) -> str:
        self.weights[name] = value
        return name

    def _convolution(self, convolution: Operation, bias: Operation) -> None:
        picture, kernel = convolution.inputs
        kernels = self._evaluate(kernel).transpose(3, 2, 0, 1)  # TensorFlow's HWIO to ONNX's OIHW.
        dilations = list(convolution.get_attr("dilations")[1:3])
        around = [0, 0]
        if convolution.get_attr("padding") == b"SAME":
            around = [
                dilation * (side - 1) // 2
                for dilation, side in zip(dilations, kernels.shape[2:], strict=True)
            ]
        inputs = [
            self._known(picture),
            self._weight(kernel.op.name, kernels),
            self._known(bias.inputs[1]),
        ]
        strides = list(convolution.get_attr("strides")[1:3])
        attributes: Attributes = {"dilations": dilations, "strides": strides, "pads": [*around, *around]}
        self._node("Conv", inputs, bias.name, attributes)

    def _enlargement(self, operation: Operation) -> None:
        if not operation.get_attr("half_pixel_centers"):
            raise NotImplementedError(f"{operation.name}: only half-pixel centres are translated")
        picture, size = operation.inputs[0], self._evaluate(operation.inputs[1])
        scales = size / np.array(picture.shape[1:3])
        whole = bool(np.all(scales == scales.round()))
        self._resize(
            operation.name, self._known(picture), *(("scales", scales) if whole else ("sizes", size))
        )

    def _resize(self, name: str, picture: str, by: str, values: NDArray[Any]) -> None:
        """To sizes, or by scales, of height and width. With sizes throughout, the built-in network took ONNX Runtime
        1.32 an eighth longer."""
        attributes: Attributes = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        if by == "scales":
            inputs = [picture, "", self._weight(f"{name}/scales", np.array((1, 1, *values), np.float32))]
        else:
            inputs = [picture, "", "", self._weight(f"{name}/sizes", values.astype(np.int64))]
            attributes["axes"] = [2, 3]
        self._node("Resize", inputs, name, attributes)
