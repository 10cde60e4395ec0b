"""Reads the weights of a U²-Net out of an ONNX file, by its graph and not by names, which exports lose.

In: an ONNX file of U²-Net, its batch norm folded into the convolutions or not. Out: its tensors by the official
names. The graph is not run: it is compared with U²-Net's, so that another network is refused and told by its inputs
and outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from model.u2net import BATCH_NORM_EPSILON, CHANNEL_MEAN, CHANNEL_STD
from training.weights.batch_norm import BATCH_NORM_SUFFIX, CONVOLUTION_SUFFIX
from training.weights.official import BLOCKS, FUSED, SIDES, Array, Weights, WeightsError
from training.weights.onnx_file import (
    DATA_KEY,
    GEOMETRY_KEY,
    LICENCE_KEY,
    constants_of,
    describe_ends,
    input_side,
    load_onnx,
    properties_of,
)

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

PARTS: Final = ("weight", "bias", "running_mean", "running_var")  # of batch norm, in ONNX's order

_SAME: Final = frozenset({"Identity", "Cast", "Dropout"})  # what gives on what it was given
_LAID_OUT: Final = _SAME | {"Transpose", "Resize", "Upsample"}  # the same, but for size and order
_QUANTISED: Final = frozenset({"QLinearConv", "ConvInteger", "DequantizeLinear", "QuantizeLinear"})
_ARITHMETIC: Final = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}
_HALF_PIXEL: Final = frozenset({"half_pixel", "pytorch_half_pixel"})
_SIGNIFICANT: Final = 1e-3  # how far a normalisation may be from ImageNet's, in units of its output


@dataclass(frozen=True, slots=True)
class _Convolution:
    """A convolution with the batch norm behind it, if there is one (scale, shift, mean, variance).

    `depth`: how many rectified convolutions came before it, one after the other. `joined`: the depths of what is
    concatenated for it, in order.
    """

    kernel: Array
    bias: Array
    norm: tuple[Array, ...] | None
    dilation: int
    depth: int
    joined: tuple[int, ...]


class _AnotherNetworkError(Exception):
    """What of the graph is not U²-Net's."""


def read_onnx(path: Path) -> Weights:
    """The tensors of a file that was found to begin like ONNX. Raises WeightsError."""
    model = load_onnx(path)
    graph = model.graph
    if not graph.node:
        raise WeightsError(
            "is a protobuf file without an ONNX graph, maybe a TensorFlow model, which is not read"
        )
    constants = constants_of(graph, path.parent)
    try:
        network = _Graph(graph, constants)
        tensors = network.tensors()
        sharpness = network.sharpness()
    except _AnotherNetworkError as difference:
        raise WeightsError(
            f"is an ONNX file of another network than U²-Net ({describe_ends(graph)}): {difference}"
        ) from None
    properties = properties_of(model)
    return Weights(
        tensors,
        size=input_side(graph),
        geometry=properties.get(GEOMETRY_KEY),
        sharpness=sharpness,
        data=properties.get(DATA_KEY, ""),
        licence=properties.get(LICENCE_KEY, ""),
    )


class _Graph:
    def __init__(self, graph: GraphProto, constants: dict[str, Array]) -> None:
        self._graph = graph
        self._constants = constants
        self._inputs = {each.name for each in graph.input}
        self._makers = {output: node for node in graph.node for output in node.output}
        self._users: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._users.setdefault(name, []).append(node)
        self._depths: dict[str, int] = {}
        self._fused: NodeProto | None = None

    def tensors(self) -> dict[str, Array]:
        """By official name. Raises _AnotherNetworkError."""
        if found := sorted({node.op_type for node in self._graph.node} & _QUANTISED):
            raise _AnotherNetworkError(f"it is quantised ({found[0]}); import the file in floating point")
        blocks, sides, fused = self._convolutions()
        _check_blocks(blocks)
        _checkends_of(sides, fused)
        self._check_enlargements()
        self._check_entry()
        tensors: dict[str, Array] = {}
        for block, each in zip(BLOCKS, blocks, strict=True):
            name = block.name + CONVOLUTION_SUFFIX
            tensors |= {f"{name}.weight": each.kernel, f"{name}.bias": each.bias}
            if each.norm is not None:
                norm = f"{block.name}{BATCH_NORM_SUFFIX}"
                tensors |= {f"{norm}.{part}": v for part, v in zip(PARTS, each.norm, strict=True)}
        for name, each in zip((*SIDES, FUSED), (*sides, *fused), strict=True):
            tensors |= {f"{name}.weight": each.kernel, f"{name}.bias": each.bias}
        return tensors

    def sharpness(self) -> float:
        """The factor between the fused logits and the sigmoid."""
        factor, node = 1.0, self._fused
        while node is not None:
            users = self._users.get(node.output[0], [])
            node = users[0] if len(users) == 1 and users[0].op_type in {"Mul", *_LAID_OUT} else None
            if node is not None and node.op_type == "Mul":
                values = [v for name in node.input if (v := self._constant(name)) is not None and v.size == 1]
                factor *= float(values[0].reshape(())) if values else 1.0
        return factor

    def _convolutions(self) -> tuple[list[_Convolution], list[_Convolution], list[_Convolution]]:
        """Those with ReLU in their order; the sides', the finest first; the one that fuses them."""
        blocks: list[_Convolution] = []
        sides: list[_Convolution] = []
        fused: list[_Convolution] = []
        for node in self._graph.node:
            depth = self._depth(node)
            if node.op_type == "Conv":
                found, rectified = self._convolution(node, depth)
                if rectified:
                    blocks.append(found)
                    depth += 1
                elif found.kernel.shape[2:] == (1, 1):
                    fused.append(found)
                    self._fused = node
                else:
                    sides.append(found)
            self._depths |= dict.fromkeys(node.output, depth)
        return blocks, sorted(sides, key=lambda each: -each.depth), fused

    def _depth(self, node: NodeProto) -> int:
        """How many rectified convolutions the picture went through before it; sizes and constants are no picture."""
        if node.op_type in ("Shape", "Size"):
            return 0
        pictures = node.input[:1] if node.op_type in ("Resize", "Upsample") else node.input
        return max((self._depths.get(name, 0) for name in pictures), default=0)

    def _convolution(self, node: NodeProto, depth: int) -> tuple[_Convolution, bool]:
        """And whether ReLU follows."""
        kernel = self._needed(node, 1)
        bias = self._needed(node, 2) if len(node.input) > 2 else np.zeros(len(kernel), np.float32)
        attributes = {each.name: each for each in node.attribute}
        steps = {*attributes["strides"].ints} if "strides" in attributes else {1}
        groups = attributes["group"].i if "group" in attributes else 1
        if steps != {1} or groups != 1:
            raise _AnotherNetworkError("it has convolutions with strides or groups")
        dilation = int(attributes["dilations"].ints[0]) if "dilations" in attributes else 1
        norm, after = None, self._after(node)
        if after is not None and after.op_type == "BatchNormalization":
            norm, after = self._norm(after), self._after(after)
        joined = self._maker(node.input[0])
        depths = joined.input if joined is not None and joined.op_type == "Concat" else ()
        found = _Convolution(
            kernel, bias, norm, dilation, depth, tuple(self._depths.get(name, 0) for name in depths)
        )
        return found, after is not None and after.op_type == "Relu"

    def _norm(self, node: NodeProto) -> tuple[Array, ...]:
        """Scale, shift, mean and variance, for our epsilon."""
        scale, shift, mean, variance = (self._needed(node, place) for place in range(1, 5))
        epsilon = next((each.f for each in node.attribute if each.name == "epsilon"), 1e-5)
        wide = np.asarray(variance, np.float64)
        factor = np.sqrt((wide + BATCH_NORM_EPSILON) / (wide + epsilon))
        return scale * factor.astype(np.float32), shift, mean, variance

    def _check_enlargements(self) -> None:
        for node in self._graph.node:
            if node.op_type != "Resize" or self._depth(node) == 0:
                continue
            attributes = {each.name: each.s.decode(errors="replace") for each in node.attribute if each.s}
            way = attributes.get("coordinate_transformation_mode", "half_pixel")
            if attributes.get("mode", "nearest") != "linear" or way not in _HALF_PIXEL:
                raise _AnotherNetworkError(
                    f"it enlarges by {attributes.get('mode', 'nearest')}, {way}, not bilinear by half pixels"
                )

    def _check_entry(self) -> None:
        """Raises _AnotherNetworkError if the file normalises its picture by itself, and not as ImageNet's is."""
        first = next(node for node in self._graph.node if node.op_type == "Conv")
        steps = list(self._entry(first))
        if not steps:
            return
        mean, deviation = np.array(CHANNEL_MEAN), np.array(CHANNEL_STD)
        for full in (1.0, 255.0):
            ends = np.stack([np.zeros(3), np.full(3, full)])
            expected = (ends / full - mean) / deviation
            for step, value in reversed(steps):
                ends = _ARITHMETIC[step](ends, value)
            if np.abs(ends - expected).max() < _SIGNIFICANT:
                return
        raise _AnotherNetworkError(
            "it normalises its picture by other values than ImageNet's mean and deviation"
        )

    def _entry(self, node: NodeProto) -> Iterator[tuple[str, Array]]:
        """The arithmetic that the picture goes through before the first convolution, the last first."""
        name = node.input[0]
        while (maker := self._makers.get(name)) is not None:
            name = maker.input[0] if maker.input else ""
            if maker.op_type in _LAID_OUT:
                continue
            value = self._constant(maker.input[1]) if maker.op_type in _ARITHMETIC else None
            if value is None or value.size not in (1, 3):
                raise _AnotherNetworkError(
                    f"its picture goes through {maker.op_type} before the first convolution"
                )
            yield maker.op_type, value.reshape(-1).astype(np.float64)

    def _maker(self, name: str) -> NodeProto | None:
        node = self._makers.get(name)
        while node is not None and node.op_type in _SAME:
            node = self._makers.get(node.input[0])
        return node

    def _after(self, node: NodeProto) -> NodeProto | None:
        """The only node that takes what `node` gives."""
        while True:
            users = self._users.get(node.output[0], [])
            if len(users) != 1:
                return None
            node = users[0]
            if node.op_type not in _SAME:
                return node

    def _needed(self, node: NodeProto, place: int) -> Array:
        value = self._constant(node.input[place]) if place < len(node.input) else None
        if value is None:
            raise _AnotherNetworkError(
                f"the weights of its {node.op_type} {node.name} are computed, not stored"
            )
        return value

    def _constant(self, name: str) -> Array | None:
        while name not in self._constants:
            maker = self._makers.get(name)
            if maker is None or maker.op_type not in _SAME:
                return None
            name = maker.input[0]
        return self._constants[name]


def _check_blocks(found: list[_Convolution]) -> None:
    if len(found) != len(BLOCKS):
        raise _AnotherNetworkError(f"it has {len(found)} convolutions with ReLU, U²-Net has {len(BLOCKS)}")
    for place, (block, each) in enumerate(zip(BLOCKS, found, strict=True)):
        if each.depth != place or each.dilation != block.dilation or each.kernel.shape[2:] != (3, 3):
            raise _AnotherNetworkError(f"its convolution {place + 1} is not {block.name}")
        _check_order(block.name, each)


def _checkends_of(sides: list[_Convolution], fused: list[_Convolution]) -> None:
    if len(sides) != len(SIDES) or len(fused) != 1:
        raise _AnotherNetworkError(
            f"it has {len(sides)} side outputs and {len(fused)} that fuse them, U²-Net has {len(SIDES)} and one"
        )
    if len(fused[0].kernel) != 1:
        raise _AnotherNetworkError(f"it gives {len(fused[0].kernel)} maps at a time, U²-Net one")
    _check_order(FUSED, fused[0])


def _check_order(name: str, convolution: _Convolution) -> None:
    """What is joined must be in the official order, the deeper before the shallower, for the kernel to fit."""
    if any(a <= b for a, b in pairwise(convolution.joined)):
        raise _AnotherNetworkError(f"what is joined for {name} is in another order")
