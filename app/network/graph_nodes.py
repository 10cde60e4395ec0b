"""What all that rewrites a TensorFlow graph needs. Knows no network."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow.core.framework.node_def_pb2 import NodeDef


def node_of(tensor: str) -> str:
    """The name of the node that a tensor, `node:1` or `node`, comes from; of one that is only waited for, `^node`."""
    return tensor.lstrip("^").partition(":")[0]


def constant_node(name: str, value: Any) -> NodeDef:
    """A node that is the NumPy array `value`, of its own type."""
    node = NodeDef(name=name, op="Const")
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    node.attr["dtype"].type = node.attr["value"].tensor.dtype
    return node
