"""A SavedModel without what only its writer needs.

In: the folder of one that TensorFlow has written. Out: the same, with the signatures and the way to restore its
variables, which TensorFlow's loaders and OpenVINO follow; without the functions that would save them again, and
without notes in the graph on where each operation came from and what shape it has. That is half of the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tensorflow.core.framework.function_pb2 import FunctionDef
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

GRAPH_FILE: Final = "saved_model.pb"
NOTES: Final = (
    "_output_shapes",
    "_user_specified_name",
    "debug_name",
)  # found anew by who loads, or read by nobody


def trim(saved_model: Path) -> None:
    """Change the graph's file in its place; the variables' stay as they are."""
    file = saved_model / GRAPH_FILE
    document = SavedModel.FromString(file.read_bytes())
    for graph in document.meta_graphs:
        _keep_what_serves(graph)
        _forget_notes(graph)
    file.write_bytes(document.SerializeToString(deterministic=True))


def _keep_what_serves(graph: MetaGraphDef) -> None:
    # The saver keeps the name of its saving operation, without which TensorFlow takes it for damaged.
    ends = [graph.saver_def.restore_op_name]
    for signature in graph.signature_def.values():
        ends += [end.name for end in (*signature.inputs.values(), *signature.outputs.values())]
    nodes = _needed(graph.graph_def.node, ends)
    functions = _called(graph.graph_def.library.function, [*graph.object_graph_def.concrete_functions], nodes)
    del graph.graph_def.node[:]
    graph.graph_def.node.extend(nodes)
    del graph.graph_def.library.function[:]
    graph.graph_def.library.function.extend(functions)


def _needed(nodes: Iterable[NodeDef], ends: Iterable[str]) -> list[NodeDef]:
    """Those that lead to tensors or operations of the names `ends`, in their order."""
    sources = {node.name: [_operation(each) for each in node.input] for node in nodes}
    found: set[str] = set()
    waiting = [_operation(end) for end in ends]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += sources[name]
    return [node for node in nodes if node.name in found]


def _operation(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def _called(
    functions: Iterable[FunctionDef], names: list[str], nodes: Iterable[NodeDef]
) -> list[FunctionDef]:
    """Those with these names, and those that `nodes` call, or they each other, in their order."""
    by_name = {function.signature.name: function for function in functions}
    found: set[str] = set()
    waiting = names + _calls(nodes)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _calls(by_name[name].node_def)
    return [function for function in functions if function.signature.name in found]


def _calls(nodes: Iterable[NodeDef]) -> list[str]:
    return [value.func.name for node in nodes for value in node.attr.values() if value.HasField("func")]


def _forget_notes(graph: MetaGraphDef) -> None:
    inner = [node for function in graph.graph_def.library.function for node in function.node_def]
    for node in [*graph.graph_def.node, *inner]:
        node.ClearField("experimental_debug_info")
        for name in NOTES:
            node.attr.pop(name, None)
    for function in graph.graph_def.library.function:
        for argument in function.arg_attr.values():
            for name in NOTES:
                argument.attr.pop(name, None)
