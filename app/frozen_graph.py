"""Everything in a frozen graph that does not depend on its input, computed once.

In: a concrete function whose variables are constants. Out: the same function with every part that hangs on constants
alone replaced by its value. TensorFlow's own folding leaves large results to each call: kernels that are stored in 16
bits were cast, and batch norm multiplied into them, for every batch anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef

Frozen = Any  # A TensorFlow ConcreteFunction; TensorFlow has no types.


def with_constants_computed(function: Frozen) -> Frozen:
    """See the module. Takes the same tensors and gives the same, as a list."""
    constant = _constant_operations(function.graph)
    values = _values_of(_frontier(function.graph, constant))
    whole = function.graph.as_graph_def()
    kept = GraphDef(versions=whole.versions, library=whole.library)
    for node in whole.node:
        if node.name in values:
            kept.node.append(_constant(node.name, values[node.name]))
        elif node.name not in constant or node.op == "Const":
            kept.node.append(node)
    _drop_dangling_controls(kept)
    inputs, outputs = ([tensor.name for tensor in each] for each in (function.inputs, function.outputs))
    wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(kept, name=""), [])
    return wrapped.prune(
        *([wrapped.graph.as_graph_element(name) for name in each] for each in (inputs, outputs))
    )


def _constant_operations(graph: Any) -> frozenset[str]:
    """The names of the operations that depend on constants alone and have one output. A graph lists an operation
    after those that it needs."""
    constant: set[str] = set()
    for operation in graph.get_operations():
        pure = not operation.op_def.is_stateful and len(operation.outputs) == 1
        fed = operation.inputs and all(tensor.op.name in constant for tensor in operation.inputs)
        if operation.type == "Const" or (pure and fed):
            constant.add(operation.name)
    return frozenset(constant)


def _frontier(graph: Any, constant: frozenset[str]) -> list[Any]:
    """The constant tensors that others need and that are not written as constants yet."""
    needed = {
        tensor.name: tensor
        for operation in graph.get_operations()
        if operation.name not in constant
        for tensor in operation.inputs
        if tensor.op.name in constant and tensor.op.type != "Const"
    }
    needed |= {t.name: t for t in graph.outputs if t.op.name in constant and t.op.type != "Const"}
    return list(needed.values())


def _values_of(tensors: list[Any]) -> Mapping[str, Any]:
    """NumPy arrays by the name of the tensor's operation."""
    if not tensors:
        return {}
    graph = tensors[0].graph.as_graph_def()
    with tf.device("/cpu:0"):
        wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph, name=""), [])
        values = wrapped.prune([], [wrapped.graph.as_graph_element(tensor.name) for tensor in tensors])()
    return {tensor.op.name: value.numpy() for tensor, value in zip(tensors, values, strict=True)}


def _constant(name: str, value: Any) -> Any:
    with tf.Graph().as_default():
        return tf.constant(value, name=name).op.node_def


def _drop_dangling_controls(graph: GraphDef) -> None:
    """What is a constant now needs nobody to run before it, and nobody waits for what is gone."""
    names = {node.name for node in graph.node}
    for node in graph.node:
        left = [each for each in node.input if not each.startswith("^") or each[1:] in names]
        if len(left) != len(node.input):
            del node.input[:]
            node.input.extend(left)
