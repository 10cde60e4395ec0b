"""What a graph does to its pixels before its first convolutions, in two passes over whole rows.

In and out: a frozen GraphDef. Networks take `(x / 255 - mean) / deviation`. TensorFlow makes a pass of each step, and
where the other operand has one number per channel, and three of them, it goes number by number. All steps together
are one factor and one addend per channel; written once for each pixel of a row, they are as quick as a single number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from app.network.graph_nodes import (
    constant_node,
    constant_value,
    in_float32,
    node_of,
    operation,
    replaced,
    reshaped,
    users_of,
    with_shapes,
)

_STEPS: Final = frozenset({"Mul", "RealDiv", "AddV2", "Sub"})
_UINT8, _FLOAT = tf.uint8.as_datatype_enum, tf.float32.as_datatype_enum


@dataclass(frozen=True, slots=True)
class _Normalisation:
    """Pixels float32 `[N,*shape]`, and the names of the steps that multiply and add to their channels."""

    pixels: str
    shape: tuple[int, int, int]
    steps: tuple[str, ...]
    factor: NDArray[np.float64]
    addend: NDArray[np.float64]


def normalisation_by_rows(graph: GraphDef) -> GraphDef:
    """The same tensors go in and come out, by the same names. A graph that begins otherwise stays as it is."""
    found = list(_normalisations(graph))
    results = {each.steps[-1]: in_float32(_two_passes(each.steps[-1], each)) for each in found}
    return replaced(graph, results, {step for each in found for step in each.steps})


def _normalisations(graph: GraphDef) -> Iterator[_Normalisation]:
    """Of each picture of bytes that becomes float32, what follows, if any of it has one number per channel."""
    nodes = {node.name: node for node in graph.node}
    users = users_of(graph)
    shapes = with_shapes(graph)
    for pixels in graph.node:
        if pixels.op != "Cast" or (pixels.attr["SrcT"].type, pixels.attr["DstT"].type) != (_UINT8, _FLOAT):
            continue
        shape = shapes.get_operation_by_name(pixels.name).outputs[0].shape
        if shape.rank != 4 or not shape[1:].is_fully_defined():
            continue
        factor, addend = np.ones(shape[3]), np.zeros(shape[3])
        by_channel, steps = False, []
        for step, value in _steps(pixels, shape[3], nodes, users):
            if step.op in ("AddV2", "Sub"):
                addend = addend + (value if step.op == "AddV2" else -value)
            else:
                ratio = value if step.op == "Mul" else 1 / value
                factor, addend = factor * ratio, addend * ratio
            by_channel = by_channel or value.size > 1
            steps.append(step.name)
        if by_channel:
            yield _Normalisation(pixels.name, tuple(shape[1:]), tuple(steps), factor, addend)


def _steps(
    pixels: NodeDef, channels: int, nodes: Mapping[str, NodeDef], users: Mapping[str, Sequence[NodeDef]]
) -> Iterator[tuple[NodeDef, NDArray[np.float64]]]:
    """The steps that follow one another, each the only one that takes what the one before gives, with their numbers:
    one, or one per channel."""
    last = pixels
    while len(users[last.name]) == 1:
        step = users[last.name][0]
        value = constant_value(nodes[node_of(step.input[-1])]) if step.op in _STEPS else None
        if value is None or value.shape not in ((), (1,), (channels,)):
            return
        yield step, value.astype(np.float64).ravel()
        last = step


def _two_passes(name: str, normalisation: _Normalisation) -> Iterator[NodeDef]:
    """The nodes in place of all steps; the last has the name."""
    height, width, channels = normalisation.shape
    scope = f"{name}/by_rows"
    yield constant_node(f"{scope}/factors", np.tile(normalisation.factor, width).astype(np.float32))
    yield constant_node(f"{scope}/addends", np.tile(normalisation.addend, width).astype(np.float32))
    yield from reshaped(f"{scope}/rows", normalisation.pixels, (-1, width * channels))
    yield operation(f"{scope}/product", "Mul", [f"{scope}/rows", f"{scope}/factors"])
    yield operation(f"{scope}/sum", "AddV2", [f"{scope}/product", f"{scope}/addends"])
    yield from reshaped(name, f"{scope}/sum", (-1, height, width, channels))
