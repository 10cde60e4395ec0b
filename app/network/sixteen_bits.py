"""A frozen float32 graph comes in, the same graph calculating in 16 bits goes out.

What TensorFlow's own rewrites (`auto_mixed_precision…`) do at run time, done once and beforehand: the weights are
held in 16 bits from the start, so that each of TensorFlow's copies of them has half the size. Operations that are not
listed here, and everything outside the convolutions, stay as they are.
"""

from __future__ import annotations

from typing import Final

import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.python.framework import op_def_registry

from app.network.graph_nodes import constant_node, node_of
from app.network.precision import Narrow

IN_16_BITS: Final = frozenset({"Conv2D", "BiasAdd", "Relu", "MaxPool", "ConcatV2", "AddV2"})
_FLOAT: Final = tf.float32.as_datatype_enum


def in_16_bits(graph: GraphDef, kind: Narrow) -> GraphDef:
    """The same tensors go in and come out, by the same names and types."""
    narrow = tf.as_dtype(kind)
    nodes = {node.name: node for node in graph.node}
    coarse = {name for name, node in nodes.items() if _is_coarse(node)}
    rewritten = GraphDef(versions=graph.versions, library=graph.library)
    casts: dict[str, NodeDef] = {}
    for name, node in nodes.items():
        new = rewritten.node.add()
        new.CopyFrom(node)
        if name in coarse:
            new.attr["T"].type = narrow.as_datatype_enum
        for position, tensor in enumerate(node.input):
            source = nodes[node_of(tensor)]
            if (source.name in coarse) != (name in coarse) and _is_float(source, tensor):
                cast = _cast(source, tensor, narrow, narrower=name in coarse)
                casts[cast.name] = cast
                new.input[position] = cast.name
    rewritten.node.extend(casts.values())
    return _without_unused_constants(rewritten)


def _is_coarse(node: NodeDef) -> bool:
    return node.op in IN_16_BITS and node.attr["T"].type == _FLOAT


def _is_float(source: NodeDef, tensor: str) -> bool:
    """Whether this output of `source` is float32 in the graph as it was."""
    outputs = op_def_registry.get(source.op).output_arg
    number = tensor.partition(":")[2]
    output = outputs[min(int(number or 0), len(outputs) - 1)]
    return bool((source.attr[output.type_attr].type if output.type_attr else output.type) == _FLOAT)


def _cast(source: NodeDef, tensor: str, narrow: tf.DType, *, narrower: bool) -> NodeDef:
    """A node that gives `tensor` in the other precision; of a constant, the constant itself."""
    before, after = (tf.float32, narrow) if narrower else (narrow, tf.float32)
    name = f"{tensor.replace(':', '_')}/{after.name}"
    if source.op == "Const":
        return constant_node(name, tf.make_ndarray(source.attr["value"].tensor).astype(after.as_numpy_dtype))
    cast = NodeDef(name=name, op="Cast", input=[tensor])
    cast.attr["SrcT"].type, cast.attr["DstT"].type = before.as_datatype_enum, after.as_datatype_enum
    return cast


def _without_unused_constants(graph: GraphDef) -> GraphDef:
    used = {node_of(tensor) for node in graph.node for tensor in node.input}
    kept = [node for node in graph.node if node.op != "Const" or node.name in used]
    return GraphDef(versions=graph.versions, library=graph.library, node=kept)
