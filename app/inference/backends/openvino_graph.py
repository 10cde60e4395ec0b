"""Rewrite a network that OpenVINO has read so that it runs faster, or correctly, with the same result.

`simplify_side_maps`: U²-Net's output is a weighted sum of one-channel maps, most of them enlarged before. OpenVINO's
resize and convolution are made for many channels, and take a tenth of the network's time for these maps. Enlarging a
plane is two matrix products, and the convolution over the maps is a weighted sum. Networks without such steps stay
unchanged.

`restore_kernels`: kernels stored in 8 or 16 bits are read as a constant, a conversion and multiplications. OpenVINO
leaves those of 8 bits for its low-precision passes, even when it computes in float, and version 2026.4 then gives
noise: of two networks compiled from one model, the first loses its kernels to the second.

`allow_input_sizes`: a SavedModel is exported for one input size, and the sizes that its maps are enlarged to are
constants. With the same factors instead of sizes it takes any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_BILINEAR: Final = {"mode": "linear_onnx", "coordinate_transformation_mode": "half_pixel"}


def simplify_side_maps(model: Any) -> None:
    """Rewrite an `openvino.Model` of fixed shapes in place."""
    for node in model.get_ordered_ops():
        if _is_plane_resize(node):
            node.output(0).replace(_resize_by_matmul(node).output(0))
        elif _is_plane_sum(node):
            node.output(0).replace(_weighted_sum(node).output(0))


def allow_input_sizes(model: Any, input_name: str, sizes: Sequence[int]) -> None:
    """Give an `openvino.Model` of the fixed input `[1,S,S,3]` one of any of these sizes, in place."""
    from openvino import Dimension, PartialShape

    for node in model.get_ordered_ops():
        if node.get_type_name() == "Interpolate":
            node.output(0).replace(_resize_by_factors(node).output(0))
    side = Dimension(min(sizes), max(sizes))
    model.reshape({model.input(input_name): PartialShape([Dimension(1), side, side, Dimension(3)])})


def _resize_by_factors(node: Any) -> Any:
    """The same resize by factors instead of to constant sizes."""
    from openvino import opset13 as ops

    attributes = node.get_attributes()
    axes = _source(node, 2).get_node().get_data()
    before, after = _shape(node.input(0)), _shape(node.output(0))
    factors = [after[axis] / before[axis] for axis in axes]
    return ops.interpolate(
        _source(node, 0),
        np.array(factors, np.float32),
        mode=attributes["mode"],
        shape_calculation_mode="scales",
        coordinate_transformation_mode=attributes["coordinate_transformation_mode"],
        axes=axes,
    )


def _is_plane_resize(node: Any) -> bool:
    """Whether the node resizes `[1,h,w,1]` to `[1,H,W,1]`, bilinear with half-pixel centres."""
    if node.get_type_name() != "Interpolate":
        return False
    before, after, attributes = _shape(node.input(0)), _shape(node.output(0)), node.get_attributes()
    bilinear = all(attributes[name] == value for name, value in _BILINEAR.items())
    return bilinear and all(len(shape) == 4 and shape[0] == shape[3] == 1 for shape in (before, after))


def _resize_by_matmul(node: Any) -> Any:
    """The same resize as two matrix products."""
    from openvino import opset13 as ops

    (_, high, wide, _), after = _shape(node.input(0)), _shape(node.output(0))
    plane = ops.reshape(_source(node, 0), np.array([high, wide]), special_zero=False)
    rows, columns = resize_matrix(high, after[1]), resize_matrix(wide, after[2])
    higher = ops.matmul(ops.constant(rows), plane, transpose_a=False, transpose_b=False)
    enlarged = ops.matmul(higher, ops.constant(columns), transpose_a=False, transpose_b=True)
    return ops.reshape(enlarged, np.array(after), special_zero=False)


def _is_plane_sum(node: Any) -> bool:
    """Whether the node is a 1x1 convolution, with constant weights, over concatenated planes `[1,1,H,W]`."""
    if node.get_type_name() != "Convolution" or _weights(node) is None:
        return False
    joined = _source(node, 0).get_node()
    planes = joined.get_type_name() == "Concat" and all(_shape(end)[:2] == [1, 1] for end in joined.inputs())
    return planes and _shape(node.input(0))[2:] == _shape(node.output(0))[2:]


def _weighted_sum(node: Any) -> Any:
    """The same convolution as a weighted sum."""
    from openvino import opset13 as ops

    joined = _source(node, 0).get_node()
    weights = _weights(node)
    assert weights is not None
    terms = [
        ops.multiply(each.get_source_output(), ops.constant(weight))
        for each, weight in zip(joined.inputs(), weights, strict=True)
    ]
    total = terms[0]
    for term in terms[1:]:
        total = ops.add(total, term)
    return total


def _weights(convolution: Any) -> Any:
    """The float32 `[C]` of a kernel `[1,C,1,1]`; None for other kernels."""
    kernel = _source(convolution, 1).get_node()
    if kernel.get_type_name() == "Convert":  # stored in 16 bits
        kernel = _source(kernel, 0).get_node()
    shape = _shape(convolution.input(1))
    if kernel.get_type_name() != "Constant" or [shape[0], *shape[2:]] != [1, 1, 1]:
        return None
    return kernel.get_data().astype(np.float32).reshape(-1)


def _source(node: Any, number: int) -> Any:
    return node.input(number).get_source_output()


def _shape(end: Any) -> list[int]:
    return list(end.get_shape())


def resize_matrix(before: int, after: int) -> NDArray[np.float32]:
    """The matrix `[after,before]` that resizes a line of `before` samples, bilinear with half-pixel centres."""
    places = np.maximum((np.arange(after) + 0.5) * before / after - 0.5, 0)
    lower = np.floor(places).astype(int)
    upper = np.minimum(lower + 1, before - 1)
    matrix = np.zeros((after, before), np.float32)
    np.add.at(matrix, (np.arange(after), lower), 1 - (places - lower))
    np.add.at(matrix, (np.arange(after), upper), places - lower)
    return matrix


def restore_kernels(model: Any) -> None:
    """Replace the stored kernels of an `openvino.Model` by float32 constants in place."""
    from openvino import opset13 as ops

    for node in model.get_ordered_ops():
        if node.get_type_name() == "Convolution":
            kernel = _constant_value(node.input(1).get_source_output().get_node())
            if kernel is not None:
                constant = ops.constant(np.ascontiguousarray(kernel, np.float32))
                node.input(1).replace_source_output(constant.output(0))


def _constant_value(node: Any) -> NDArray[Any] | None:
    """The value of a node that depends only on constants, by operations that restore kernels; None for any other."""
    if node.get_type_name() == "Constant":
        return np.asarray(node.get_data())
    sources = [_constant_value(end.get_source_output().get_node()) for end in node.inputs()]
    values = [each for each in sources if each is not None]
    if len(values) != len(sources):
        return None
    restored: NDArray[Any] | None = None
    match node.get_type_name():
        case "Convert":
            restored = values[0].astype(np.float32)
        case "Multiply":
            restored = values[0] * values[1]
        case "Transpose":
            restored = values[0].transpose(values[1])
        case "Reshape":
            restored = values[0].reshape(values[1])
    return restored
