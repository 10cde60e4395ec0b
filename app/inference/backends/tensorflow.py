"""Run a SavedModel by TensorFlow: batches uint8 `[N,S,S,3]` to alphas float32 `[N,S,S]`.

Each function holds a session of its own. TensorFlow is imported when it is first asked for: quietly, and without what
a service does not need. It need not be installed where OpenVINO runs the network.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.inference.backends.base import Alphas, Batch, ExecutionConfig, LoadError, Predict
from model import contract

if TYPE_CHECKING:
    from app.inference.backends.frozen_graph import FrozenGraph
    from app.inference.backends.precision import Narrow


class NotInstalledError(LoadError):
    """There is no TensorFlow for this Python."""

    def __init__(self) -> None:
        super().__init__(
            "TensorFlow is not installed: pip install 'u2matte[tensorflow]', for an NVIDIA GPU 'u2matte[gpu]', or "
            "take an image that has it (docs/install.md#without-tensorflow)"
        )


class TensorFlowModel:
    """A SavedModel as a frozen graph. The functions may be called by any number of threads."""

    def __init__(self, path: Path, config: ExecutionConfig) -> None:
        """Raises LoadError."""
        self._config = config
        self._graph = frozen(path, config)

    def exactly(self) -> Predict:
        """In float32, as the graph is."""
        return runner(self._graph, self._config, optimised=False)

    def in_float32(self) -> Predict:
        """As TensorFlow optimises it."""
        return runner(self._graph, self._config)

    def narrowed(self, kind: Narrow, probe: Batch) -> Predict:
        """As TensorFlow optimises it, with weights and convolutions in 16 bits."""
        from app.inference.backends.frozen_graph import in_16_bits

        narrow = in_16_bits(self._graph.definition, kind)
        return runner(replace(self._graph, definition=narrow), self._config)


def frozen(path: Path, config: ExecutionConfig) -> FrozenGraph:
    tf = tensorflow()
    from app.inference.backends.frozen_graph import freeze

    try:
        return freeze(
            path, contract.SIGNATURE, contract.INPUT_NAME, contract.OUTPUT_NAME, options_for(config)
        )
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise LoadError(f"{path}: not a SavedModel with signature {contract.SIGNATURE}: {error}") from None


def runner(graph: FrozenGraph, config: ExecutionConfig, *, optimised: bool = True) -> Predict:
    """The graph in a TensorFlow session of its own, which keeps far fewer copies of the weights than a function of
    TensorFlow 2 does. `optimised=False`: TensorFlow runs the graph as it is, without rewriting it first. The function
    raises MemoryError for a batch that needs more than there is."""
    tf = tensorflow()
    options = options_for(config)
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


def options_for(config: ExecutionConfig) -> Any:
    """A TensorFlow ConfigProto. Threads belong to the process: the first session decides for all."""
    on_cuda = config.device == "cuda"
    options = tensorflow().compat.v1.ConfigProto(device_count={} if on_cuda else {"GPU": 0})
    options.gpu_options.allow_growth = True
    options.gpu_options.visible_device_list = str(config.gpu) if on_cuda else ""
    if not on_cuda:
        options.intra_op_parallelism_threads = config.threads
        options.inter_op_parallelism_threads = -1  # The caller's thread does it all.
    # Threads that look for work in circles take it from those that decode and encode.
    options.experimental.disable_thread_spinning = True
    return options


def short_of_memory(error: Any) -> bool:
    """Whether that is what a TensorFlow OpError says. A copy to a GPU that is full fails by another name
    (https://github.com/tensorflow/tensorflow/issues/7025)."""
    exhausted = isinstance(error, tensorflow().errors.ResourceExhaustedError)
    return exhausted or "Dst tensor is not initialized" in error.message


_log = logging.getLogger(__name__)


def tensorflow() -> Any:
    """The module `tensorflow`. Raises NotInstalledError."""
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Read when it is first imported.
        with _start_up_notes_as_debug_log(), _without_keras(), _without_disk():
            _imported().config.list_physical_devices()
    return _imported()


def _imported() -> Any:
    try:
        import tensorflow
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":  # It is there, but something that it needs is not.
            raise
        raise NotInstalledError from None
    return tensorflow


@contextmanager
def _without_keras() -> Iterator[None]:
    """TensorFlow imports Keras where it finds it, for SavedModels that hold Keras layers. Ours hold none, and the
    service starts 0.8 s sooner and 60 MB smaller without it."""
    if "keras" in sys.modules:
        yield
        return
    sys.modules["keras"] = None  # type: ignore[assignment] # Python's way to say that there is none.
    try:
        yield
    finally:
        del sys.modules["keras"]


@contextmanager
def _without_disk() -> Iterator[None]:
    """Among what TensorFlow imports are test tools, which ask for a folder for temporary files. To find one Python
    writes into it, and on a full or read-only disk it would raise. Nothing of ours is ever written there."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = "/tmp"
    try:
        yield
    finally:
        tempfile.tempdir = None  # To be asked for anew.


@contextmanager
def _start_up_notes_as_debug_log() -> Iterator[None]:
    """TensorFlow's libraries write notes, and an error about CUDA on every host without a GPU, straight to file
    descriptor 2, whatever the log level. They frighten people; here they become log lines of level debug."""
    stderr = os.dup(2)
    # In memory: the service starts on a full disk, too.
    with os.fdopen(os.memfd_create("notes"), "w+b") as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            notes.seek(0)
            for line in notes.read().decode(errors="replace").splitlines():
                _log.debug("TensorFlow: %s", line)
