"""A graph's bilinear resizes, written as products with constant matrices.

In and out: a frozen GraphDef. TensorFlow's own resize gives float32 whatever it gets and runs beside the units that
multiply matrices; between convolutions in bfloat16 it and its two casts cost a sixth of the network's time. A row of
the result is a fixed mixture of rows, a column one of columns: two products, rounded like everything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from app.network.graph_nodes import constant_node, with_shapes

FEWEST_CHANNELS: Final = 8  # with fewer, the products are too thin to be quick


def resizes_as_products(graph: GraphDef) -> GraphDef:
    """Each ResizeBilinear with half-pixel centres and known sizes becomes two matrix products of the same result."""
    shapes = with_shapes(graph)
    rewritten = GraphDef(versions=graph.versions, library=graph.library)
    for node in graph.node:
        sizes = _sizes(node, shapes)
        if sizes is None:
            rewritten.node.append(node)
        else:
            rewritten.node.extend(_products(node, *sizes))
    return rewritten


def mixture(before: int, after: int) -> NDArray[np.float32]:
    """`[after,before]`: what each of `after` places takes of each of `before`, bilinear with half-pixel centres."""
    places = np.maximum((np.arange(after) + 0.5) * before / after - 0.5, 0)
    lower = np.floor(places).astype(int)
    upper = np.minimum(lower + 1, before - 1)
    matrix = np.zeros((after, before), np.float32)
    np.add.at(matrix, (np.arange(after), lower), 1 - (places - lower))
    np.add.at(matrix, (np.arange(after), upper), places - lower)
    return matrix


def _sizes(node: NodeDef, shapes: Any) -> tuple[int, int, int, int, int] | None:
    """(height, width, channels, new height, new width) of a resize that can be replaced."""
    if node.op != "ResizeBilinear" or not node.attr["half_pixel_centers"].b:
        return None
    operation = shapes.get_operation_by_name(node.name)
    before, after = (tensor.shape for tensor in (operation.inputs[0], operation.outputs[0]))
    if not (before[1:].is_fully_defined() and after[1:].is_fully_defined()) or before[3] < FEWEST_CHANNELS:
        return None
    return before[1], before[2], before[3], after[1], after[2]


def _products(
    node: NodeDef, height: int, width: int, channels: int, new_height: int, new_width: int
) -> Iterator[NodeDef]:
    """The nodes in place of `node`; the last has its name."""
    name = node.name
    yield constant_node(f"{name}/rows", mixture(height, new_height)[None])
    yield constant_node(f"{name}/columns", mixture(width, new_width)[None])
    yield from _reshape(f"{name}/as_rows", node.input[0], (-1, height, width * channels))
    yield _product(f"{name}/taller", f"{name}/rows", f"{name}/as_rows")
    yield from _reshape(f"{name}/as_columns", f"{name}/taller", (-1, width, channels))
    yield _product(f"{name}/wider", f"{name}/columns", f"{name}/as_columns")
    yield from _reshape(name, f"{name}/wider", (-1, new_height, new_width, channels))


def _product(name: str, left: str, right: str) -> NodeDef:
    node = NodeDef(name=name, op="BatchMatMulV2", input=[left, right])
    node.attr["T"].type = tf.float32.as_datatype_enum
    return node


def _reshape(name: str, tensor: str, shape: tuple[int, ...]) -> Iterator[NodeDef]:
    yield constant_node(f"{name}/shape", np.array(shape, np.int32))
    node = NodeDef(name=name, op="Reshape", input=[tensor, f"{name}/shape"])
    node.attr["T"].type, node.attr["Tshape"].type = tf.float32.as_datatype_enum, tf.int32.as_datatype_enum
    yield node
