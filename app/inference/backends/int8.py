"""Quantise a U²-Net that OpenVINO has read to 8 bits, with the ranges of its activations.

OpenVINO multiplies in 8 bits between two FakeQuantize operations, or between one and an int8 constant. So a
FakeQuantize is inserted behind each activation that convolutions read, and each kernel becomes int8 with a scale per
output channel. Activations that are concatenated share one range, since the convolution behind them knows only one.

Resizing, the kernels that produce logits, and what follows these stay in float. So do the few convolutions whose
kernels do not bear 8 bits, with their inputs; the first one, which reads the picture, is among them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.inference.backends.base import LoadError
from model.contract import Activations
from model.eight_bits import bears_8_bits, in_8_bits

LEVELS: Final = 256
_PASSES_ON: Final = frozenset({"Interpolate", "MaxPool", "Transpose", "Convert"})
_READS_8_BITS: Final = frozenset({"Convolution", "MaxPool", "Concat", "Add"})


def quantise(model: Any, activations: Activations) -> None:
    """Quantise an `openvino.Model` of fixed shapes in place. Raises LoadError if `activations` are of another
    network."""
    _resize_channels_first(model)
    in_float = _float_nodes(model)
    ranges = _share_ranges(model, _ranges(model, activations), in_float)
    for node in model.get_ordered_ops():
        name = node.get_friendly_name()
        if name in ranges:
            _insert_fake_quantize(node, ranges[name], _READS_8_BITS, in_float)
        elif (
            node.get_type_name() == "Interpolate" and (origin := _origin(node).get_friendly_name()) in ranges
        ):
            _insert_fake_quantize(node, ranges[origin], {"Concat"}, in_float)
    for node in _convolutions(model):
        if node.get_friendly_name() not in in_float:
            _quantise_kernel(node)
    model.validate_nodes_and_infer_types()


def _resize_channels_first(model: Any) -> None:
    """Resize in channels-first order. The SavedModel's transposes to channels-last around each resize block 8 bits;
    without them the network takes a third of the time."""
    from openvino import opset13 as ops

    for node in model.get_ordered_ops():
        if node.get_type_name() != "Interpolate":
            continue
        source = node.input(0).get_source_output()
        while source.get_node().get_type_name() in ("Convert", "Transpose"):
            source = source.get_node().input(0).get_source_output()
        users = [end.get_node() for end in node.output(0).get_target_inputs()]
        transposed = all(user.get_type_name() == "Transpose" for user in users)
        if not transposed or len(source.get_shape()) != 4:
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
    """The largest value of each ReLU and each residual sum, by the operation's name. They are matched by their order,
    which is the same in every topological order because each depends on the one before it."""
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


def _float_nodes(model: Any) -> frozenset[str]:
    """The names of the convolutions that stay in float, and of the Concats that only these read."""
    found: set[str] = set()
    for node in model.get_ordered_ops():
        constant = node.get_type_name() == "Convolution" and _source(node, 1).get_type_name() == "Constant"
        if constant and not bears_8_bits(_kernel(node)):
            found.add(node.get_friendly_name())
            joins = _source(node, 0)
            if joins.get_type_name() == "Concat" and len(joins.output(0).get_target_inputs()) == 1:
                found.add(joins.get_friendly_name())
    return frozenset(found)


def _share_ranges(model: Any, ranges: dict[str, float], in_float: Collection[str]) -> dict[str, float]:
    """`ranges`, with the largest of them for all activations that one Concat joins, unless the Concat is among
    `in_float`."""
    group = {name: name for name in ranges}

    def head(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    for node in model.get_ordered_ops():
        if node.get_type_name() == "Concat" and node.get_friendly_name() not in in_float:
            names = [_origin(_source(node, i)).get_friendly_name() for i in range(node.get_input_size())]
            if all(name in group for name in names):
                for name in names[1:]:
                    group[head(name)] = head(names[0])
    widest: dict[str, float] = {}
    for name, value in ranges.items():
        widest[head(name)] = max(value, widest.get(head(name), 0.0))
    return {name: widest[head(name)] for name in ranges}


def _origin(node: Any) -> Any:
    """The operation whose values `node` passes on without enlarging their range."""
    while node.get_type_name() in _PASSES_ON:
        node = _source(node, 0)
    return node


def _insert_fake_quantize(
    node: Any, largest: float, users: Collection[str], in_float: Collection[str]
) -> None:
    """Quantise the output of `node` to LEVELS steps from 0 to `largest`, for consumers of these kinds that are not
    `in_float`."""
    from openvino import opset13 as ops

    consumers = [
        end
        for end in node.output(0).get_target_inputs()
        if end.get_node().get_type_name() in users and end.get_node().get_friendly_name() not in in_float
    ]
    if consumers:
        low, high = np.float32(0), np.float32(largest)
        rounded = ops.fake_quantize(node.output(0), low, high, low, high, LEVELS)
        for end in consumers:
            end.replace_source_output(rounded.output(0))


def _convolutions(model: Any) -> Iterator[Any]:
    """The convolutions with a constant kernel that read quantised values and do not produce logits."""
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Convolution":
            continue
        kernel, seen = _source(node, 1), _source(node, 0).get_type_name()
        makes_logits = list(node.output(0).get_shape())[1] == 1
        if (
            kernel.get_type_name() == "Constant"
            and seen in _READS_8_BITS | {"FakeQuantize"}
            and not makes_logits
        ):
            yield node


def _quantise_kernel(convolution: Any) -> None:
    """Replace the kernel by int8 `[O,I,h,w]` and scales `[O,1,1,1]`."""
    from openvino import opset13 as ops

    values, scale = in_8_bits(_kernel(convolution))
    bytes_ = np.ascontiguousarray(values.transpose(3, 2, 0, 1))
    restored = ops.multiply(
        ops.convert(ops.constant(bytes_), "f32"), ops.constant(scale.reshape(-1, 1, 1, 1))
    )
    convolution.input(1).replace_source_output(restored.output(0))


def _kernel(convolution: Any) -> NDArray[np.float32]:
    """The kernel as float32 `[h,w,I,O]`, as artifacts store it."""
    kernel: NDArray[np.float32] = _source(convolution, 1).get_data().astype(np.float32)
    return kernel.transpose(2, 3, 1, 0)


def _source(node: Any, number: int) -> Any:
    return node.input(number).get_source_output().get_node()
