"""What a frozen graph's own operations are replaced by where it runs on a CPU, all of the same result.

In and out: a frozen GraphDef. Each rewriting is a module that says why; one that finds nothing to do gives the graph
back as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tensorflow.core.framework.graph_pb2 import GraphDef

from app.network.freed_memory import trim_memory
from app.network.normalisation import normalisation_by_rows
from app.network.side_maps import side_maps_summed
from app.network.thin_convolutions import thin_convolutions_widened
from app.network.upsampling import resizes_as_products

Rewriting = Callable[[GraphDef], GraphDef]

REWRITINGS: Final[tuple[Rewriting, ...]] = (
    normalisation_by_rows,
    side_maps_summed,  # before the others change what it looks for
    thin_convolutions_widened,
    resizes_as_products,
)


def for_cpus(graph: GraphDef, rewritings: tuple[Rewriting, ...] = REWRITINGS) -> GraphDef:
    """The same tensors go in and come out, by the same names."""
    for rewriting in rewritings:
        graph = rewriting(graph)
        trim_memory()
    return graph
