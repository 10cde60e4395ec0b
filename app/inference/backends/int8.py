"""A U²-Net as OpenVINO has read it, and the ranges of its activations, come in; the same network in 8 bits goes out.

OpenVINO multiplies in 8 bits between two FakeQuantize operations, or one and a constant of int8. So one is put behind
each activation that convolutions see, and each kernel becomes int8 with a scale for every
output channel. Activations that are joined are rounded alike, since the convolution behind them knows one range.

What stays in float: enlarging, the kernels that make logits, and what follows these; and the few convolutions whose
kernels do not bear 8 bits, with what they see, the first one's picture among it. Only CPUs that add up products
of bytes by themselves (VNNI, AMX) gain by it; others add them in 16 bits, which overflow.
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
_SEES_8_BITS: Final = frozenset({"Convolution", "MaxPool", "Concat", "Add"})


def quantise(model: Any, activations: Activations) -> None:
    """Change an `openvino.Model` of fixed shapes. Raises LoadError where `activations` are not this network's."""
    _enlarge_by_rows_and_columns(model)
    exact = _exact(model)
    ranges = _joined(model, _ranges(model, activations), exact)
    for node in model.get_ordered_ops():
        name = node.get_friendly_name()
        if name in ranges:
            _round(node, ranges[name], _SEES_8_BITS, exact)
        elif (
            node.get_type_name() == "Interpolate" and (origin := _origin(node).get_friendly_name()) in ranges
        ):
            _round(node, ranges[origin], {"Concat"}, exact)
    for node in _convolutions(model):
        if node.get_friendly_name() not in exact:
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


def _exact(model: Any) -> frozenset[str]:
    """The names of the convolutions that stay in float, and of the Concats that none but they see."""
    found: set[str] = set()
    for node in model.get_ordered_ops():
        constant = node.get_type_name() == "Convolution" and _source(node, 1).get_type_name() == "Constant"
        if constant and not bears_8_bits(_kernel(node)):
            found.add(node.get_friendly_name())
            joins = _source(node, 0)
            if joins.get_type_name() == "Concat" and len(joins.output(0).get_target_inputs()) == 1:
                found.add(joins.get_friendly_name())
    return frozenset(found)


def _joined(model: Any, ranges: dict[str, float], exact: Collection[str]) -> dict[str, float]:
    """The same, where activations that some Concat joins have the largest range of all of them. Those that are
    `exact` do not count."""
    group = {name: name for name in ranges}

    def head(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    for node in model.get_ordered_ops():
        if node.get_type_name() == "Concat" and node.get_friendly_name() not in exact:
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


def _round(node: Any, largest: float, users: Collection[str], exact: Collection[str]) -> None:
    """What `node` gives to operations of these kinds, except the `exact`, is rounded to LEVELS steps from
    0 to `largest`."""
    from openvino import opset13 as ops

    takers = [
        end
        for end in node.output(0).get_target_inputs()
        if end.get_node().get_type_name() in users and end.get_node().get_friendly_name() not in exact
    ]
    if takers:
        low, high = np.float32(0), np.float32(largest)
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
    """Its kernel becomes int8 `[O,I,h,w]` and scales `[O,1,1,1]`."""
    from openvino import opset13 as ops

    values, scale = in_8_bits(_kernel(convolution))
    bytes_ = np.ascontiguousarray(values.transpose(3, 2, 0, 1))
    restored = ops.multiply(
        ops.convert(ops.constant(bytes_), "f32"), ops.constant(scale.reshape(-1, 1, 1, 1))
    )
    convolution.input(1).replace_source_output(restored.output(0))


def _kernel(convolution: Any) -> NDArray[np.float32]:
    """float32 `[h,w,I,O]`, as artifacts store it."""
    kernel: NDArray[np.float32] = _source(convolution, 1).get_data().astype(np.float32)
    return kernel.transpose(2, 3, 1, 0)


def _source(node: Any, number: int) -> Any:
    return node.input(number).get_source_output().get_node()
