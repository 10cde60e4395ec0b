"""A weighted sum of one-channel maps, some of them enlarged before, written as one product of matrices.

In and out: a frozen GraphDef. U²-Net's answer is a 1x1 convolution over its six side maps, five of them resized to
the size of the sixth. A resize is `R S C`: R mixes rows, C columns. So the sum of all is one product of the R side by
side, each times its weight, with the `S C` one below the other; nothing of the full size is resized or joined. It
stays in float32 whatever the network calculates in: it is small, and what it gives is the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from app.network.graph_nodes import (
    constant_node,
    constant_value,
    in_float32,
    joined,
    node_of,
    operation,
    replaced,
    reshaped,
    users_of,
    with_shapes,
)
from app.network.mixture import mixture
from app.network.thin_convolutions import ThinConvolution, thin_convolutions
from app.network.upsampling import Resize, resize_of


@dataclass(frozen=True, slots=True)
class _Term:
    """A map `[N,H,W,1]` and its weight; or, with a `resize`, what that enlarges to such a map."""

    tensor: str
    weight: float
    resize: Resize | None


@dataclass(frozen=True, slots=True)
class _Sum:
    """Of terms and a bias. `swallowed` are the names of the nodes that made it, the last that of the sum itself."""

    terms: tuple[_Term, ...]
    bias: float
    size: tuple[int, int]
    swallowed: tuple[str, ...]


def side_maps_summed(graph: GraphDef) -> GraphDef:
    """The same tensors go in and come out, by the same names. A graph without such a sum stays as it is."""
    found = list(_sums(graph))
    results = {each.swallowed[-1]: in_float32(_products(each.swallowed[-1], each)) for each in found}
    return replaced(graph, results, {name for each in found for name in each.swallowed})


def _sums(graph: GraphDef) -> Iterator[_Sum]:
    nodes = {node.name: node for node in graph.node}
    users = users_of(graph)
    shapes = with_shapes(graph)
    for thin in thin_convolutions(graph):
        join = nodes[node_of(thin.convolution.input[0])]
        if join.op != "ConcatV2" or len(users[join.name]) > 1:
            continue
        axis = constant_value(nodes[node_of(join.input[-1])])
        # As many tensors are joined as the kernel takes channels, so each has one.
        if axis not in (3, -1) or thin.kernel.shape != (1, 1, len(join.input) - 1, 1):
            continue
        terms = tuple(_terms(join, thin, nodes, users, shapes))
        resizes = [each.resize for each in terms if each.resize is not None]
        if resizes:
            gone = [node_of(tensor) for tensor, term in zip(join.input, terms, strict=False) if term.resize]
            yield _Sum(
                terms,
                thin.offset,
                (resizes[0].new_height, resizes[0].new_width),
                (*gone, join.name, thin.convolution.name, thin.bias.name),
            )


def _terms(
    join: NodeDef,
    thin: ThinConvolution,
    nodes: Mapping[str, NodeDef],
    users: Mapping[str, Sequence[NodeDef]],
    shapes: Any,
) -> Iterator[_Term]:
    for tensor, weight in zip(join.input[:-1], thin.kernel.ravel(), strict=True):
        node = nodes[node_of(tensor)]
        resize = resize_of(node, shapes) if len(users[node.name]) == 1 else None
        yield _Term(node.input[0] if resize else tensor, float(weight), resize)


def _products(name: str, whole: _Sum) -> Iterator[NodeDef]:
    """The nodes that calculate the sum; the last has the name."""
    height, width = whole.size
    scope = f"{name}/of_maps"
    rows, mixed, parts = [], [], [f"{scope}/enlarged", f"{scope}/bias"]
    for index, term in enumerate(whole.terms):
        own = f"{scope}/{index}"
        if term.resize is None:
            yield constant_node(f"{own}/weight", np.float32(term.weight))
            yield operation(own, "Mul", [term.tensor, f"{own}/weight"])
            parts.append(own)
            continue
        small = (term.resize.height, term.resize.width)
        rows.append(term.weight * mixture(small[0], height))
        mixed.append(own)
        yield constant_node(f"{own}/columns", mixture(small[1], width).T.copy())
        yield from reshaped(f"{own}/small", term.tensor, (-1, *small))
        yield operation(own, "BatchMatMulV2", [f"{own}/small", f"{own}/columns"])
    yield constant_node(f"{scope}/rows", np.concatenate(rows, axis=1)[None])
    yield from joined(f"{scope}/mixed", mixed, axis=1)
    yield operation(f"{scope}/product", "BatchMatMulV2", [f"{scope}/rows", f"{scope}/mixed"])
    yield from reshaped(parts[0], f"{scope}/product", (-1, height, width, 1))
    yield constant_node(parts[1], np.float32(whole.bias))
    sums = [parts[0], *(f"{scope}/sum{place}" for place in range(1, len(parts) - 1)), name]
    for (before, after), part in zip(pairwise(sums), parts[1:], strict=True):
        yield operation(after, "AddV2", [before, part])
