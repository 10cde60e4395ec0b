"""Freeze a SavedModel: one flat graph whose weights are constants, in float32 or 16 bits.

In: the folder of a SavedModel. Out: a GraphDef without variables and functions, and the names of its input and
output. Everything that does not depend on the input is computed once. TensorFlow's own constant folding skips large
tensors: for every batch it cast the kernels stored in 16 bits and multiplied batch norm into them again. Its object
loader takes four times as long and twice the memory.

`in_16_bits` does in advance what TensorFlow's own rewrites (`auto_mixed_precision…`) do at run time: the weights are
in 16 bits from the start, so that each of TensorFlow's copies of them has half the size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.protobuf.config_pb2 import ConfigProto
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef, SignatureDef
from tensorflow.python.framework import op_def_registry
from tensorflow.python.grappler import tf_optimizer
from tensorflow.python.saved_model.loader_impl import SavedModelLoader

TAG: Final = "serve"
_READS_VARIABLE: Final = frozenset({"VarHandleOp", "ReadVariableOp"})
_SCOPE: Final = "constants"

Session = Any  # tf.compat.v1.Session; TensorFlow has no types.


@dataclass(frozen=True, slots=True)
class FrozenGraph:
    """A graph, and the names of its input and output tensors."""

    definition: GraphDef
    input: str
    output: str


def freeze(
    saved_model: Path, signature: str, input_name: str, output_name: str, options: ConfigProto | None = None
) -> FrozenGraph:
    """Turn the variables of the function behind `signature` into constants. `options`: of the session that does it.

    Raises OSError, ValueError, KeyError or tf.errors.OpError for anything that is not such a SavedModel.
    """
    with tf.Graph().as_default(), tf.compat.v1.Session(config=_without_optimiser(options)) as session:
        loaded = SavedModelLoader(str(saved_model)).load(session, [TAG])
        signature_def: SignatureDef = loaded.signature_def[signature]
        entry, result = signature_def.inputs[input_name].name, signature_def.outputs[output_name].name
        nodes = _dependencies(_inline(loaded, entry, result), result)
        constant = _constant_nodes(nodes)
        values = _values(session, nodes, constant, _frontier(nodes, constant, result))
    return FrozenGraph(_with_values(nodes, constant, values, loaded.graph_def), entry, result)


def _without_optimiser(options: ConfigProto | None) -> ConfigProto:
    """Disable graph optimisation: everything here runs once, on the CPU, in less time than optimising it would
    take."""
    config = ConfigProto()
    if options is not None:
        config.CopyFrom(options)
    config.device_count["GPU"] = 0
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config


def _inline(loaded: MetaGraphDef, entry: str, result: str) -> GraphDef:
    """The part of the graph that `result` depends on, with function calls inlined."""
    part = MetaGraphDef()
    part.graph_def.node.extend(_dependencies(loaded.graph_def, result).values())
    part.graph_def.library.CopyFrom(loaded.graph_def.library)
    part.graph_def.versions.CopyFrom(loaded.graph_def.versions)
    part.collection_def["train_op"].node_list.value.extend([entry, result])  # nodes that keep their names
    inlining = ConfigProto()
    inlining.graph_options.rewrite_options.min_graph_nodes = -1
    inlining.graph_options.rewrite_options.meta_optimizer_iterations = 1
    inlining.graph_options.rewrite_options.optimizers.append("function")
    return tf_optimizer.OptimizeGraph(inlining, part)


def _dependencies(graph: GraphDef, result: str) -> dict[str, NodeDef]:
    """The nodes, by name, that `result` depends on, each after its inputs."""
    nodes = {node.name: node for node in graph.node}
    feeds: dict[str, list[str]] = {}
    found = [node_of(result)]
    while found:
        name = found.pop()
        if name not in feeds:
            feeds[name] = list(_sources(nodes[name]))
            found += feeds[name]
    return {name: nodes[name] for name in TopologicalSorter(feeds).static_order()}


def _sources(node: NodeDef) -> Iterator[str]:
    """The nodes that provide the inputs; control inputs do not count, since nothing here has side effects."""
    return (node_of(tensor) for tensor in node.input if not tensor.startswith("^"))


def _constant_nodes(nodes: Mapping[str, NodeDef]) -> frozenset[str]:
    """The names of the nodes that depend only on constants and variables, and have one output."""
    constant: set[str] = set()
    for name, node in nodes.items():
        operation = op_def_registry.get(node.op)
        single = len(operation.output_arg) == 1 and not operation.output_arg[0].number_attr
        pure = node.op in _READS_VARIABLE or not operation.is_stateful
        sources = list(_sources(node))
        fed = bool(sources) and constant.issuperset(sources)
        if node.op in ("Const", "VarHandleOp") or (single and pure and fed):
            constant.add(name)
    return frozenset(constant)


def _frontier(nodes: Mapping[str, NodeDef], constant: Collection[str], result: str) -> list[str]:
    """The constant nodes that other nodes, or the caller, use."""
    needed = {source for name, node in nodes.items() if name not in constant for source in _sources(node)}
    return sorted((needed | {node_of(result)}) & set(constant))


def _values(
    session: Session, nodes: Mapping[str, NodeDef], constant: Collection[str], frontier: list[str]
) -> dict[str, Any]:
    """Compute the frontier: NumPy arrays by the node's name."""
    part = GraphDef()
    for name, node in nodes.items():
        if name in constant:
            part.node.append(_unplaced(node))
    tf.import_graph_def(part, name=_SCOPE)
    values = session.run([f"{_SCOPE}/{name}:0" for name in frontier])
    return dict(zip(frontier, values, strict=True))


def _with_values(
    nodes: Mapping[str, NodeDef], constant: Collection[str], values: Mapping[str, Any], whole: GraphDef
) -> GraphDef:
    """The graph with the computed values in place of the constant nodes."""
    graph = GraphDef(versions=whole.versions, library=whole.library)
    for name, node in nodes.items():
        if name in values:
            graph.node.append(constant_node(name, values[name]))
        elif name not in constant:
            graph.node.append(_unplaced(node))
    return graph


def _unplaced(node: NodeDef) -> NodeDef:
    """A copy without device, colocation and control inputs; output shapes are inferred again."""
    unplaced = NodeDef()
    unplaced.CopyFrom(node)
    unplaced.device = ""
    for name in ("_class", "_output_shapes"):
        unplaced.attr.pop(name, None)
    del unplaced.input[:]
    unplaced.input.extend(tensor for tensor in node.input if not tensor.startswith("^"))
    return unplaced


def for_any_input_size(graph: FrozenGraph) -> GraphDef:
    """The definition for inputs `[N,H,W,3]` of any height and width that 32 divides. A SavedModel is exported for one
    size, and the sizes that its maps are enlarged to are constants: they become multiples of what is enlarged."""
    with tf.Graph().as_default() as whole:
        tf.import_graph_def(graph.definition, name="")
    rewritten = GraphDef(versions=graph.definition.versions, library=graph.definition.library)
    for node in graph.definition.node:
        new = rewritten.node.add()
        new.CopyFrom(node)
        if node.name == node_of(graph.input):
            for axis in (1, 2):
                new.attr["shape"].shape.dim[axis].size = -1
        elif node.op == "ResizeBilinear":
            resize = whole.get_operation_by_name(node.name)
            before, after = resize.inputs[0].shape[1:3], resize.outputs[0].shape[1:3]
            factors = [high // low for low, high in zip(before, after, strict=True)]
            sides = list(_multiples_of_sides(node, np.array(factors, np.int32)))
            new.input[1] = sides[-1].name
            rewritten.node.extend(sides)
    return _without_unused_constants(rewritten)


def _multiples_of_sides(resize: NodeDef, factors: Any) -> Iterator[NodeDef]:
    """Nodes, the last of which gives the height and width int32 of what `resize` reads, times `factors`."""
    name = resize.name
    shape = NodeDef(name=f"{name}/shape", op="Shape", input=[resize.input[0]])
    shape.attr["T"].CopyFrom(resize.attr["T"])
    shape.attr["out_type"].type = tf.int32.as_datatype_enum
    ends = [
        constant_node(f"{name}/{what}", np.array(at, np.int32)) for what, at in (("from", [1]), ("to", [3]))
    ]
    step = constant_node(f"{name}/step", np.array([1], np.int32))
    sides = NodeDef(
        name=f"{name}/sides", op="StridedSlice", input=[shape.name, *(end.name for end in ends), step.name]
    )
    sides.attr["T"].type = sides.attr["Index"].type = tf.int32.as_datatype_enum
    by = constant_node(f"{name}/factors", factors)
    multiples = NodeDef(name=f"{name}/multiples", op="Mul", input=[sides.name, by.name])
    multiples.attr["T"].type = tf.int32.as_datatype_enum
    yield from (shape, *ends, step, sides, by, multiples)


IN_16_BITS: Final = frozenset({"Conv2D", "BiasAdd", "Relu", "MaxPool", "ConcatV2", "AddV2"})
_FLOAT: Final = tf.float32.as_datatype_enum


def in_16_bits(graph: GraphDef, kind: str) -> GraphDef:
    """Run convolutions and what surrounds them in 16 bits. Input and output keep their names and types."""
    narrow = tf.as_dtype(kind)
    nodes = {node.name: node for node in graph.node}
    narrowed = {name for name, node in nodes.items() if _runs_in_16_bits(node)}
    rewritten = GraphDef(versions=graph.versions, library=graph.library)
    casts: dict[str, NodeDef] = {}
    for name, node in nodes.items():
        new = rewritten.node.add()
        new.CopyFrom(node)
        if name in narrowed:
            new.attr["T"].type = narrow.as_datatype_enum
        for position, tensor in enumerate(node.input):
            source = nodes[node_of(tensor)]
            if (source.name in narrowed) != (name in narrowed) and _is_float(source, tensor):
                cast = _cast(source, tensor, narrow, narrower=name in narrowed)
                casts[cast.name] = cast
                new.input[position] = cast.name
    rewritten.node.extend(casts.values())
    return _without_unused_constants(rewritten)


def _runs_in_16_bits(node: NodeDef) -> bool:
    return node.op in IN_16_BITS and node.attr["T"].type == _FLOAT


def _is_float(source: NodeDef, tensor: str) -> bool:
    """Whether this output of `source` is float32 in the original graph."""
    outputs = op_def_registry.get(source.op).output_arg
    number = tensor.partition(":")[2]
    output = outputs[min(int(number or 0), len(outputs) - 1)]
    return bool((source.attr[output.type_attr].type if output.type_attr else output.type) == _FLOAT)


def _cast(source: NodeDef, tensor: str, narrow: tf.DType, *, narrower: bool) -> NodeDef:
    """A node that casts `tensor` to the other precision; a constant is cast right away."""
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


def node_of(tensor: str) -> str:
    """The name of the node in a tensor's name, `node:1` or `node`, or in a control input, `^node`."""
    return tensor.lstrip("^").partition(":")[0]


def constant_node(name: str, value: Any) -> NodeDef:
    """A Const node with the NumPy array `value`, of the same type."""
    node = NodeDef(name=name, op="Const")
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    node.attr["dtype"].type = node.attr["value"].tensor.dtype
    return node
