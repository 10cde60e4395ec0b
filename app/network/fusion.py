"""A frozen graph's convolutions with what follows them, written as the single operations that oneDNN has for them.

In and out: a frozen GraphDef for x86 CPUs. TensorFlow finds bias and ReLU behind a convolution by itself, in a second
of rewriting at each start, and holds several copies of the weights meanwhile; said beforehand, it has nothing to do.
And it does not find this one: a sum of two maps is a convolution by 1 with a map added, which takes oneDNN a fraction
of the time of TensorFlow's own addition in bfloat16.

The names are TensorFlow's own for its oneDNN kernels, which it would put here itself (tensorflow/core/common_runtime/
mkl_layout_pass.cc); they may be others in another version, so the caller must be ready for a graph that does not run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.python.framework import op_def_registry

from app.network.graph_nodes import KEEPS_FLOAT32, constant_node, node_of, replaced, users_of, with_shapes

FUSED: Final = "_MklNativeFusedConv2D"
RENAMED: Final = {"MaxPool": "_MklNativeMaxPool", "BatchMatMulV2": "_MklBatchMatMulV2"}
_LABEL: Final = b"MklNameChangeOp"
_GEOMETRY: Final = ("strides", "padding", "dilations", "data_format", "explicit_paddings")
_FLOAT: Final = tf.float32.as_datatype_enum


def fused(graph: GraphDef) -> GraphDef:
    """The same tensors go in and come out, by the same names. Raises ValueError if these operations are unknown."""
    for operation in (FUSED, *RENAMED.values()):
        if op_def_registry.get(operation) is None:
            raise ValueError(f"this TensorFlow has no operation {operation}")
    nodes = {node.name: node for node in graph.node}
    chains = _chains(graph, nodes)
    sums = _sums(graph)
    operations = {name: [_chain(chain)] for name, chain in chains.items()}
    operations |= {name: _sum(nodes[name], channels) for name, channels in sums.items()}
    operations |= {node.name: [_renamed(node)] for node in graph.node if node.op in RENAMED}
    return replaced(graph, operations, {part.name for chain in chains.values() for part in chain})


def _chains(graph: GraphDef, nodes: Mapping[str, NodeDef]) -> dict[str, list[NodeDef]]:
    """Convolution, bias and, where it is there, ReLU, by the name of the last, whose result the others use alone."""
    users = users_of(graph)
    chains = {}
    for bias in graph.node:
        convolution = nodes[node_of(bias.input[0])] if bias.op == "BiasAdd" else None
        if convolution is None or convolution.op != "Conv2D" or len(users[convolution.name]) > 1:
            continue
        after = users.get(bias.name, [])
        relu = after if len(after) == 1 and after[0].op == "Relu" else []
        chain = [convolution, bias, *relu]
        chains[chain[-1].name] = chain
    return chains


def _sums(graph: GraphDef) -> dict[str, int]:
    """The sums of two maps `[N,H,W,C]` of one shape, and their channels."""
    shapes = with_shapes(graph)
    sums = {}
    for node in graph.node:
        if node.op == "AddV2" and node.attr["T"].type == _FLOAT and KEEPS_FLOAT32 not in node.attr:
            first, second = (tensor.shape for tensor in shapes.get_operation_by_name(node.name).inputs)
            same = first.rank == 4 and first[1:].is_fully_defined() and first[1:] == second[1:]
            if same and first[0] == second[0]:
                sums[node.name] = first[3]
    return sums


def _chain(chain: Sequence[NodeDef]) -> NodeDef:
    convolution, bias, *relu = chain
    node = _fused(chain[-1].name, [*convolution.input, bias.input[1]], ["BiasAdd", *["Relu" for _ in relu]])
    for name in _GEOMETRY:
        if name in convolution.attr:
            node.attr[name].CopyFrom(convolution.attr[name])
    return node


def _sum(node: NodeDef, channels: int) -> list[NodeDef]:
    kernel = constant_node(f"{node.name}/one", np.eye(channels, dtype=np.float32)[None, None])
    bias = constant_node(f"{node.name}/zero", np.zeros(channels, np.float32))
    first, second = node.input
    whole = _fused(node.name, [first, kernel.name, bias.name, second], ["BiasAdd", "Add"])
    whole.attr["strides"].list.i.extend([1, 1, 1, 1])
    whole.attr["padding"].s = b"SAME"
    return [kernel, bias, whole]


def _fused(name: str, inputs: Sequence[str], steps: Sequence[str]) -> NodeDef:
    node = NodeDef(name=name, op=FUSED, input=inputs)
    extra = len(inputs) - 2
    node.attr["T"].type = _FLOAT
    node.attr["TArgs"].list.type.extend([_FLOAT] * extra)
    node.attr["num_args"].i = extra
    node.attr["fused_ops"].list.s.extend(step.encode() for step in steps)
    node.attr["is_filter_const"].b = True
    node.attr["_kernel"].s = _LABEL
    return node


def _renamed(node: NodeDef) -> NodeDef:
    renamed = NodeDef()
    renamed.CopyFrom(node)
    renamed.op = RENAMED[node.op]
    renamed.attr["_kernel"].s = _LABEL
    renamed.attr.pop("explicit_paddings", None)  # MaxPool's, which this one does not know and nobody sets
    return renamed
