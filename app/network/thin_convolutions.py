"""Convolutions to a single channel, written so that they calculate several pixels of a row at once.

In and out: a frozen GraphDef. oneDNN calculates 16 or more channels of a pixel together; of one channel it throws the
rest away. A kernel that is some pixels wider, moves on by as many and holds the weights once for each of them gives
these pixels as its channels: the same numbers in the same order in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from app.network.graph_nodes import (
    constant_node,
    constant_value,
    node_of,
    replaced,
    reshaped,
    users_of,
    with_shapes,
)

PIXELS: Final = 8
"""At once: of 8, 16 and 32 the quickest."""
NARROWEST: Final = 64
"""The width of a map, in pixels, from which it is worth it. And where a row is a single step, oneDNN's kernel for AMX
gives wrong numbers (seen with 256 channels of 8x8, 8 pixels at once, and of 16x16, 16 at once)."""


@dataclass(frozen=True, slots=True)
class ThinConvolution:
    """A convolution of maps `[N,H,W,C]`, stride 1, with `kernel` `[h,w,C,1]`, whose result only its bias takes."""

    convolution: NodeDef
    bias: NodeDef
    kernel: NDArray[np.float32]
    offset: float


def thin_convolutions(graph: GraphDef) -> Iterator[ThinConvolution]:
    """Those of the graph."""
    nodes = {node.name: node for node in graph.node}
    users = users_of(graph)
    for bias in graph.node:
        convolution = nodes[node_of(bias.input[0])] if bias.op == "BiasAdd" else None
        if convolution is None or not _slides_by_one(convolution) or len(users[convolution.name]) > 1:
            continue
        offset = constant_value(nodes[node_of(bias.input[1])])
        if offset is not None and offset.size == 1:
            kernel = constant_value(nodes[node_of(convolution.input[1])])
            if kernel is not None:
                yield ThinConvolution(convolution, bias, kernel, float(offset[0]))


def thin_convolutions_widened(graph: GraphDef) -> GraphDef:
    """The same tensors go in and come out, by the same names. What is not thin, or narrow, stays as it is."""
    shapes = with_shapes(graph)
    found: dict[str, Iterator[NodeDef]] = {}
    swallowed = set()
    for thin in thin_convolutions(graph):
        height, width = shapes.get_operation_by_name(thin.bias.name).outputs[0].shape[1:3]
        known = height is not None and width is not None
        if known and width >= NARROWEST and width % PIXELS == 0 and _keeps_size(thin):
            found[thin.bias.name] = _widened(thin, (height, width))
            swallowed.add(thin.convolution.name)
    return replaced(graph, found, swallowed)


def shifted(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """`[h,w,C,1]` to `[h,w+PIXELS-1,C,PIXELS]`: once for each pixel, at its place."""
    height, width, channels, _ = kernel.shape
    wide = np.zeros((height, width + PIXELS - 1, channels, PIXELS), np.float32)
    for pixel in range(PIXELS):
        wide[:, pixel : pixel + width, :, pixel] = kernel[..., 0]
    return wide


def _slides_by_one(node: NodeDef) -> bool:
    """Whether it is a convolution without stride and dilation."""
    if node.op != "Conv2D" or ("data_format" in node.attr and node.attr["data_format"].s != b"NHWC"):
        return False
    steps = (node.attr[name].list.i for name in ("strides", "dilations") if name in node.attr)
    return all(step == 1 for each in steps for step in each)


def _keeps_size(thin: ThinConvolution) -> bool:
    """SAME pads by w - 1 in all, of which the smaller half is on the left, for a kernel of w pixels and for one of
    w + n - 1 that moves on by n. What is one pixel wide is quick enough as it is."""
    return bool(thin.convolution.attr["padding"].s == b"SAME" and thin.kernel.shape[1] > 1)


def _widened(thin: ThinConvolution, size: tuple[int, int]) -> Iterator[NodeDef]:
    """The nodes in place of convolution and bias; the last has the name of the bias."""
    name = thin.bias.name
    convolution, bias = NodeDef(), NodeDef()
    convolution.CopyFrom(thin.convolution)
    bias.CopyFrom(thin.bias)
    bias.name = f"{name}/pixels"
    yield constant_node(f"{bias.name}/kernel", shifted(thin.kernel))
    yield constant_node(f"{bias.name}/offset", np.full(PIXELS, thin.offset, np.float32))
    convolution.input[1], bias.input[1] = f"{bias.name}/kernel", f"{bias.name}/offset"
    convolution.attr["strides"].list.i[2] = PIXELS
    yield convolution
    yield bias
    yield from reshaped(name, bias.name, (-1, *size, 1))
