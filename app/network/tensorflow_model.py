"""A model's SavedModel comes in, functions that run it by TensorFlow go out: batches uint8 `[N,S,S,3]` to alphas
float32 `[N,S,S]`.

Each function holds a session of its own. Imports TensorFlow only inside functions.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.network.running import Alphas, Batch, LoadError, Place, Predict
from app.network.tensorflow_start import tensorflow
from model import contract

if TYPE_CHECKING:
    from app.network.frozen_graph import FrozenGraph
    from app.network.precision import Narrow


class TensorFlowModel:
    """A SavedModel as a frozen graph. The functions may be called by any number of threads."""

    def __init__(self, path: Path, place: Place) -> None:
        """Raises LoadError."""
        self._place = place
        self._graph = frozen(path, place)

    def exactly(self) -> Predict:
        """In float32, as the graph is."""
        return runner(self._graph, self._place, optimised=False)

    def in_float32(self) -> Predict:
        """As TensorFlow optimises it."""
        return runner(self._graph, self._place)

    def narrowed(self, kind: Narrow, probe: Batch) -> Predict:
        """As TensorFlow optimises it, with weights and convolutions in 16 bits."""
        from app.network.sixteen_bits import in_16_bits

        narrow = in_16_bits(self._graph.definition, kind)
        return runner(replace(self._graph, definition=narrow), self._place)


def frozen(path: Path, place: Place) -> FrozenGraph:
    tf = tensorflow()
    from app.network.frozen_graph import freeze

    try:
        return freeze(path, contract.SIGNATURE, contract.INPUT_NAME, contract.OUTPUT_NAME, options_for(place))
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise LoadError(f"{path}: not a SavedModel with signature {contract.SIGNATURE}: {error}") from None


def runner(graph: FrozenGraph, place: Place, *, optimised: bool = True) -> Predict:
    """The graph in a TensorFlow session of its own, which keeps far fewer copies of the weights than a function of
    TensorFlow 2 does. `optimised=False`: TensorFlow runs the graph as it is, without rewriting it first. The function
    raises MemoryError for a batch that needs more than there is."""
    tf = tensorflow()
    options = options_for(place)
    options.graph_options.rewrite_options.disable_meta_optimizer = not optimised
    # The session forgets the graph that it was made from once it has its own.
    options.experimental.optimize_for_static_graph = True
    options.experimental.disable_output_partition_graphs = True
    with tf.Graph().as_default() as whole:
        tf.import_graph_def(graph.definition, name="")
        session = tf.compat.v1.Session(graph=whole, config=options)
    alpha = session.make_callable(graph.output, [graph.input])

    def run(batch: Batch) -> Alphas:
        try:
            return np.asarray(alpha(batch), np.float32)[..., 0]
        except tf.errors.OpError as error:
            if short_of_memory(error):
                raise MemoryError(error.message) from None
            raise

    return run


def options_for(place: Place) -> Any:
    """A TensorFlow ConfigProto. Threads belong to the process: the first session decides for all."""
    on_cuda = place.device == "cuda"
    options = tensorflow().compat.v1.ConfigProto(device_count={} if on_cuda else {"GPU": 0})
    options.gpu_options.allow_growth = True
    options.gpu_options.visible_device_list = str(place.gpu) if on_cuda else ""
    if not on_cuda:
        options.intra_op_parallelism_threads = place.threads
        options.inter_op_parallelism_threads = -1  # The caller's thread does it all.
    # Threads that look for work in circles take it from those that decode and encode.
    options.experimental.disable_thread_spinning = True
    return options


def short_of_memory(error: Any) -> bool:
    """Whether that is what a TensorFlow OpError says. A copy to a GPU that is full fails by another name
    (https://github.com/tensorflow/tensorflow/issues/7025)."""
    exhausted = isinstance(error, tensorflow().errors.ResourceExhaustedError)
    return exhausted or "Dst tensor is not initialized" in error.message
