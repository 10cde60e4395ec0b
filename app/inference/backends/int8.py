"""A U²-Net as OpenVINO has read it, and the ranges of its activations, come in; the same network in 8 bits goes out.

OpenVINO multiplies in 8 bits between two FakeQuantize operations, or one and a constant of int8. So one is put behind
the picture and behind each activation that convolutions see, and each kernel becomes int8 with a scale for every
output channel. Activations that are joined are rounded alike, since the convolution behind them knows one range.

What stays in float: enlarging, the kernels that make logits, and what follows these. Only CPUs that add up products
of bytes by themselves (VNNI, AMX) gain by it; others add them in 16 bits, which overflow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.inference.backends.base import LoadError
from model.contract import Activations

LEVELS: Final = 256
LARGEST: Final = 127  # of int8's magnitudes, the same to both sides of 0
# What the brightest and the darkest byte become in the network's normalisation by ImageNet's means and deviations.
PICTURE_RANGE: Final = ((0 - 0.485) / 0.229, (1 - 0.406) / 0.225)
_PASSES_ON: Final = frozenset({"Interpolate", "MaxPool", "Transpose", "Convert"})
_SEES_8_BITS: Final = frozenset({"Convolution", "MaxPool", "Concat", "Add"})


def quantise(model: Any, activations: Activations) -> None:
    """Change an `openvino.Model` of fixed shapes. Raises LoadError where `activations` are not this network's."""
    _enlarge_by_rows_and_columns(model)
    ranges = _joined(model, _ranges(model, activations))
    for node in model.get_ordered_ops():
        kind, name = node.get_type_name(), node.get_friendly_name()
        if name in ranges:
            _round(node, (0.0, ranges[name]), _SEES_8_BITS)
        elif kind == "Interpolate" and (origin := _origin(node).get_friendly_name()) in ranges:
            _round(node, (0.0, ranges[origin]), {"Concat"})
        elif kind == "Convolution" and _source(node, 0).get_type_name() in ("Divide", "Multiply"):
            _round(_source(node, 0), PICTURE_RANGE, {"Convolution"})
    for node in _convolutions(model):
        _narrow(node)
    model.validate_nodes_and_infer_types()


def _enlarge_by_rows_and_columns(model: Any) -> None:
    """TensorFlow's order of axes, channels last, stands around each enlarging alone; without it 8 bits pass through.
    The network then takes a third of the time."""
    from openvino import opset13 as ops

    for node in model.get_ordered_ops():
        if node.get_type_name() != "Interpolate":
            continue
        source = node.input(0).get_source_output()
        while source.get_node().get_type_name() in ("Convert", "Transpose"):
            source = source.get_node().input(0).get_source_output()
        users = [end.get_node() for end in node.output(0).get_target_inputs()]
        turned = all(user.get_type_name() == "Transpose" for user in users)
        if not turned or len(source.get_shape()) != 4:
            continue
        enlarged = ops.interpolate(
            source,
            np.array(list(users[0].output(0).get_shape())[2:]),
            mode="linear_onnx",
            shape_calculation_mode="sizes",
            coordinate_transformation_mode="half_pixel",
            axes=np.array([2, 3]),
        )
        for user in users:
            user.output(0).replace(enlarged.output(0))


def _ranges(model: Any, activations: Activations) -> dict[str, float]:
    """The largest value of each ReLU and each residual sum, by the operation's name. They are told apart by their
    order, which is the same in every topological order, since each needs the one before it."""
    nodes = list(model.get_ordered_ops())
    relus = [node for node in nodes if node.get_type_name() == "Relu"]
    sums = [node for node in nodes if node.get_type_name() == "Add" and _adds(node, "Relu")]
    if (len(relus), len(sums)) != (len(activations.relu), len(activations.sum)):
        raise LoadError(
            f"activations.json has {len(activations.relu)} ranges of ReLUs and {len(activations.sum)} of sums, the "
            f"network {len(relus)} and {len(sums)}: it is another network's"
        )
    values = [*activations.relu.values(), *activations.sum.values()]
    return {node.get_friendly_name(): value for node, value in zip([*relus, *sums], values, strict=True)}


def _adds(node: Any, kind: str) -> bool:
    return all(end.get_source_output().get_node().get_type_name() == kind for end in node.inputs())


def _joined(model: Any, ranges: dict[str, float]) -> dict[str, float]:
    """The same, where activations that some Concat joins have the largest range of all of them."""
    group = {name: name for name in ranges}

    def head(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    for node in model.get_ordered_ops():
        if node.get_type_name() == "Concat":
            names = [_origin(_source(node, i)).get_friendly_name() for i in range(node.get_input_size())]
            if all(name in group for name in names):
                for name in names[1:]:
                    group[head(name)] = head(names[0])
    widest: dict[str, float] = {}
    for name, value in ranges.items():
        widest[head(name)] = max(value, widest.get(head(name), 0.0))
    return {name: widest[head(name)] for name in ranges}


def _origin(node: Any) -> Any:
    """Whose values `node` passes on, without making them larger."""
    while node.get_type_name() in _PASSES_ON:
        node = _source(node, 0)
    return node


def _round(node: Any, ends: tuple[float, float], users: Collection[str]) -> None:
    """What `node` gives to operations of these kinds is rounded to LEVELS steps between `ends`."""
    from openvino import opset13 as ops

    takers = [end for end in node.output(0).get_target_inputs() if end.get_node().get_type_name() in users]
    if takers:
        low, high = np.float32(ends[0]), np.float32(ends[1])
        rounded = ops.fake_quantize(node.output(0), low, high, low, high, LEVELS)
        for end in takers:
            end.replace_source_output(rounded.output(0))


def _convolutions(model: Any) -> Iterator[Any]:
    """Those with a constant kernel that see what is rounded, and do not make logits."""
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Convolution":
            continue
        kernel, seen = _source(node, 1), _source(node, 0).get_type_name()
        makes_logits = list(node.output(0).get_shape())[1] == 1
        if (
            kernel.get_type_name() == "Constant"
            and seen in _SEES_8_BITS | {"FakeQuantize"}
            and not makes_logits
        ):
            yield node


def _narrow(convolution: Any) -> None:
    """Its kernel `[O,I,h,w]` as int8 `q` and scales `[O,1,1,1]`. One that was stored in 8 bits comes out as it was
    stored: the largest of each output channel is LARGEST in both."""
    from openvino import opset13 as ops

    kernel: NDArray[np.float32] = _source(convolution, 1).get_data().astype(np.float32)
    largest = np.abs(kernel).max(axis=(1, 2, 3), keepdims=True)
    scale = np.where(largest > 0, largest / LARGEST, 1).astype(np.float32)
    values = np.clip(np.rint(kernel / scale), -LARGEST, LARGEST).astype(np.int8)
    restored = ops.multiply(ops.convert(ops.constant(values), "f32"), ops.constant(scale))
    convolution.input(1).replace_source_output(restored.output(0))


def _source(node: Any, number: int) -> Any:
    return node.input(number).get_source_output().get_node()
