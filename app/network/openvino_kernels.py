"""A network as OpenVINO has read it comes in, and has the kernels of its convolutions as plain float32 constants.

Kernels that are stored in 8 or 16 bits are read as a constant, a conversion and multiplications. OpenVINO leaves
those of 8 bits for its own low precision to find, also where it calculates in float, and there its 2026.4 gives
noise: of two networks that are compiled of one model, the first loses its kernels to the second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def restore_kernels(model: Any) -> None:
    """Change an `openvino.Model`."""
    from openvino import opset13 as ops

    for node in model.get_ordered_ops():
        if node.get_type_name() == "Convolution":
            kernel = _value(node.input(1).get_source_output().get_node())
            if kernel is not None:
                constant = ops.constant(np.ascontiguousarray(kernel, np.float32))
                node.input(1).replace_source_output(constant.output(0))


def _value(node: Any) -> NDArray[Any] | None:
    """What a node gives that depends on constants alone, by operations that restore kernels; None for another's."""
    if node.get_type_name() == "Constant":
        return np.asarray(node.get_data())
    sources = [_value(end.get_source_output().get_node()) for end in node.inputs()]
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
