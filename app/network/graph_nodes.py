"""What all that rewrites a TensorFlow graph needs: names, users, shapes, new nodes. Knows no network."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

KEEPS_FLOAT32: Final = "_keeps_float32"
"""Marks a node that stays in float32 when the others go to 16 bits. TensorFlow ignores attributes with a leading
underscore that it does not know."""

_LARGE: Final = 1024
"""Bytes. Of what is smaller a shape may depend on the value."""
_FLOAT, _INT32 = tf.float32.as_datatype_enum, tf.int32.as_datatype_enum


def node_of(tensor: str) -> str:
    """The name of the node that a tensor, `node:1` or `node`, comes from; of one that is only waited for, `^node`."""
    return tensor.lstrip("^").partition(":")[0]


def users_of(graph: GraphDef) -> dict[str, list[NodeDef]]:
    """By a node's name those that take what it gives; who takes it twice is there twice."""
    users: dict[str, list[NodeDef]] = {}
    for node in graph.node:
        for tensor in node.input:
            users.setdefault(node_of(tensor), []).append(node)
    return users


def replaced(
    graph: GraphDef, by_name: Mapping[str, Iterable[NodeDef]], swallowed: Collection[str] = ()
) -> GraphDef:
    """The graph with others in place of the nodes that are named, and without the `swallowed` that are not."""
    rewritten = GraphDef(versions=graph.versions, library=graph.library)
    for node in graph.node:
        if node.name in by_name:
            rewritten.node.extend(by_name[node.name])
        elif node.name not in swallowed:
            rewritten.node.append(node)
    return rewritten


def with_shapes(graph: GraphDef) -> Any:
    """A tf.Graph, whose operations know their tensors' shapes as far as they can be told. It holds no weights: to
    copy them takes many times as long as all else."""
    light = GraphDef(versions=graph.versions, library=graph.library)
    for node in graph.node:
        light.node.append(_stand_in(node) if _is_weight(node) else node)
    with tf.Graph().as_default() as shapes:
        tf.import_graph_def(light, name="")
    return shapes


def _is_weight(node: NodeDef) -> bool:
    return bool(node.op == "Const" and node.attr["dtype"].type == _FLOAT and node.ByteSize() > _LARGE)


def _stand_in(node: NodeDef) -> NodeDef:
    stand_in = NodeDef(name=node.name, op="Placeholder")
    stand_in.attr["dtype"].type = node.attr["dtype"].type
    stand_in.attr["shape"].shape.CopyFrom(node.attr["value"].tensor.tensor_shape)
    return stand_in


def constant_node(name: str, value: Any) -> NodeDef:
    """A node that is the NumPy array `value`, of its own type."""
    node = NodeDef(name=name, op="Const")
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    node.attr["dtype"].type = node.attr["value"].tensor.dtype
    return node


def constant_value(node: NodeDef) -> Any:
    """The NumPy array that a node is; None if it is no constant."""
    return tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else None


def operation(name: str, kind: str, inputs: Sequence[str]) -> NodeDef:
    """An operation on float32 that needs no further attributes."""
    node = NodeDef(name=name, op=kind, input=inputs)
    node.attr["T"].type = _FLOAT
    return node


def reshaped(name: str, tensor: str, shape: Sequence[int]) -> Iterator[NodeDef]:
    """Float32 in another shape; the last node has the name."""
    yield constant_node(f"{name}/shape", np.array(shape, np.int32))
    node = operation(name, "Reshape", [tensor, f"{name}/shape"])
    node.attr["Tshape"].type = _INT32
    yield node


def joined(name: str, tensors: Sequence[str], axis: int) -> Iterator[NodeDef]:
    """Float32 tensors one behind the other along `axis`; the last node has the name."""
    yield constant_node(f"{name}/axis", np.int32(axis))
    node = operation(name, "ConcatV2", [*tensors, f"{name}/axis"])
    node.attr["N"].i, node.attr["Tidx"].type = len(tensors), _INT32
    yield node


def part_of(name: str, tensor: str, begin: Sequence[int], size: Sequence[int]) -> Iterator[NodeDef]:
    """What a float32 tensor holds from `begin`, `size` of it in each axis (-1: to the end); the last node has the
    name."""
    yield constant_node(f"{name}/begin", np.array(begin, np.int32))
    yield constant_node(f"{name}/size", np.array(size, np.int32))
    node = operation(name, "Slice", [tensor, f"{name}/begin", f"{name}/size"])
    node.attr["Index"].type = _INT32
    yield node


def in_float32(nodes: Iterable[NodeDef]) -> Iterator[NodeDef]:
    """The same nodes, marked to stay in float32."""
    for node in nodes:
        node.attr[KEEPS_FLOAT32].b = True
        yield node
