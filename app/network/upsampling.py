"""A graph's bilinear resizes, written as products with constant matrices.

In and out: a frozen GraphDef. TensorFlow's own resize gives float32 whatever it gets, needs casts around it between
convolutions in bfloat16, and runs beside the units that multiply matrices. A row of the result is a fixed
mixture of rows, a column one of columns: two products, rounded like everything else. For few channels the second is
too thin to be quick; there a convolution mixes the columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from app.network.graph_nodes import (
    constant_node,
    joined,
    operation,
    part_of,
    replaced,
    reshaped,
    with_shapes,
)
from app.network.mixture import mixture

FEWEST_CHANNELS: Final = 8  # with fewer, the products are too thin to be quick
# From so many pixels in a row, with so few channels, a convolution doubles the row sooner than a product does. With
# half the pixels or twice the channels nothing is gained.
LONG_ROW: Final = 128
FEW_CHANNELS: Final = 16


@dataclass(frozen=True, slots=True)
class Resize:
    """A bilinear resize with half-pixel centres, of maps `[N,height,width,channels]`."""

    height: int
    width: int
    channels: int
    new_height: int
    new_width: int


def resizes_as_products(graph: GraphDef) -> GraphDef:
    """Each ResizeBilinear with half-pixel centres and known sizes becomes matrix products of the same result."""
    shapes = with_shapes(graph)
    resizes = ((node, resize_of(node, shapes)) for node in graph.node)
    products = {
        node.name: _doubled(node, resize) if _is_doubled(resize) else _products(node, resize)
        for node, resize in resizes
        if resize is not None and resize.channels >= FEWEST_CHANNELS
    }
    return replaced(graph, products)


def resize_of(node: NodeDef, shapes: Any) -> Resize | None:
    """The resize that a node is; None if it is another one, or none, or its sizes are not known."""
    if node.op != "ResizeBilinear" or not node.attr["half_pixel_centers"].b:
        return None
    known = shapes.get_operation_by_name(node.name)
    before, after = (tensor.shape for tensor in (known.inputs[0], known.outputs[0]))
    if not (before[1:].is_fully_defined() and after[1:].is_fully_defined()):
        return None
    return Resize(before[1], before[2], before[3], after[1], after[2])


def _is_doubled(resize: Resize) -> bool:
    long = resize.width >= LONG_ROW and resize.channels <= FEW_CHANNELS
    return long and resize.new_width == 2 * resize.width


def _products(node: NodeDef, resize: Resize) -> Iterator[NodeDef]:
    """The nodes in place of `node`; the last has its name."""
    name, width, channels = node.name, resize.width, resize.channels
    yield from _taller(f"{name}/taller", node.input[0], resize, width)
    yield constant_node(f"{name}/columns", mixture(width, resize.new_width)[None])
    yield from reshaped(f"{name}/as_columns", f"{name}/taller", (-1, width, channels))
    yield operation(f"{name}/wider", "BatchMatMulV2", [f"{name}/columns", f"{name}/as_columns"])
    yield from reshaped(name, f"{name}/wider", (-1, resize.new_height, resize.new_width, channels))


def _doubled(node: NodeDef, resize: Resize) -> Iterator[NodeDef]:
    """The same for twice the width, by a convolution that makes each pixel a pair of pixels, laid out as channels.
    Where a pixel has no neighbour it is its own."""
    name, channels, before = node.name, resize.channels, node.input[0]
    yield from part_of(f"{name}/first", before, (0, 0, 0, 0), (-1, -1, 1, -1))
    yield from part_of(f"{name}/last", before, (0, 0, resize.width - 1, 0), (-1, -1, 1, -1))
    yield from joined(f"{name}/padded", [f"{name}/first", before, f"{name}/last"], axis=2)
    padded = resize.width + 2
    yield from _taller(f"{name}/taller", f"{name}/padded", resize, padded)
    yield from reshaped(f"{name}/as_pixels", f"{name}/taller", (-1, resize.new_height, padded, channels))
    pair = np.array([[0.25, 0], [0.75, 0.75], [0, 0.25]], np.float32)
    kernel = np.einsum("kp,io->kipo", pair, np.eye(channels, dtype=np.float32))
    yield constant_node(f"{name}/kernel", kernel.reshape(1, 3, channels, 2 * channels))
    pairs = operation(f"{name}/pairs", "Conv2D", [f"{name}/as_pixels", f"{name}/kernel"])
    pairs.attr["strides"].list.i.extend([1, 1, 1, 1])
    pairs.attr["padding"].s = b"VALID"
    yield pairs
    yield from reshaped(name, pairs.name, (-1, resize.new_height, resize.new_width, channels))


def _taller(name: str, before: str, resize: Resize, width: int) -> Iterator[NodeDef]:
    """Maps `[N,height,width,channels]` to `[N,new height,width x channels]`; the last node has the name."""
    yield constant_node(f"{name}/rows", mixture(resize.height, resize.new_height)[None])
    yield from reshaped(f"{name}/as_rows", before, (-1, resize.height, width * resize.channels))
    yield operation(name, "BatchMatMulV2", [f"{name}/rows", f"{name}/as_rows"])
