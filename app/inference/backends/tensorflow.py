"""Run a SavedModel by TensorFlow: batches uint8 `[N,S,S,3]` to alphas float32 `[N,S,S]`.

Each function holds a session of its own. TensorFlow is imported on first use, quietly, and without parts that a
service does not need. It need not be installed where OpenVINO runs the network.
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
from app.inference.backends.precision import FLOAT32
from model import contract

if TYPE_CHECKING:
    from app.inference.backends.frozen_graph import FrozenGraph


class NotInstalledError(LoadError):
    """There is no TensorFlow for this Python."""

    def __init__(self) -> None:
        super().__init__(
            "TensorFlow is not installed: pip install 'u2matte[tensorflow]', for an NVIDIA GPU 'u2matte[gpu]', or "
            "take an image that has it (docs/install.md#without-tensorflow)"
        )


class TensorFlowModel:
    """A SavedModel as a frozen graph. Any number of threads may call the functions."""

    def __init__(self, path: Path, config: ExecutionConfig, *, any_size: bool = False) -> None:
        """`any_size`: for pictures of other sizes than that which the model was exported for, too. Raises
        LoadError."""
        self._config = config
        self._graph = load_frozen(path, config)
        if any_size:
            from app.inference.backends.frozen_graph import for_any_input_size

            self._graph = replace(self._graph, definition=for_any_input_size(self._graph))

    def reference(self) -> Predict:
        """In float32, without TensorFlow's optimiser."""
        return session_function(self._graph, self._config, optimised=False)

    def load(self, precision: str) -> Predict:
        """In float32, or with weights and convolutions in 16 bits, optimised by TensorFlow."""
        if precision == FLOAT32:
            return session_function(self._graph, self._config)
        from app.inference.backends.frozen_graph import in_16_bits

        narrow = in_16_bits(self._graph.definition, precision)
        return session_function(replace(self._graph, definition=narrow), self._config)


def load_frozen(path: Path, config: ExecutionConfig) -> FrozenGraph:
    """Freeze a SavedModel. Raises LoadError."""
    tf = tensorflow()
    from app.inference.backends.frozen_graph import freeze

    try:
        return freeze(
            path, contract.SIGNATURE, contract.INPUT_NAME, contract.OUTPUT_NAME, session_config(config)
        )
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise LoadError(f"{path}: not a SavedModel with signature {contract.SIGNATURE}: {error}") from None


def session_function(graph: FrozenGraph, config: ExecutionConfig, *, optimised: bool = True) -> Predict:
    """Run a graph in a TensorFlow session of its own, which holds far fewer copies of the weights than a TensorFlow 2
    function. `optimised=False`: TensorFlow does not rewrite the graph first. The function raises MemoryError for a
    batch that needs too much memory."""
    tf = tensorflow()
    options = session_config(config)
    options.graph_options.rewrite_options.disable_meta_optimizer = not optimised
    # The session drops the graph that it was made from once it has its own.
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
            if is_out_of_memory(error):
                raise MemoryError(error.message) from None
            raise

    return run


def session_config(config: ExecutionConfig) -> Any:
    """A TensorFlow ConfigProto. Threads belong to the process: the first session sets their number."""
    on_cuda = config.device == "cuda"
    options = tensorflow().compat.v1.ConfigProto(device_count={} if on_cuda else {"GPU": 0})
    options.gpu_options.allow_growth = True
    options.gpu_options.visible_device_list = str(config.gpu) if on_cuda else ""
    if not on_cuda:
        options.intra_op_parallelism_threads = config.threads
        options.inter_op_parallelism_threads = -1  # run in the caller's thread
    # Spinning threads would take cores from decoding and encoding.
    options.experimental.disable_thread_spinning = True
    return options


def is_out_of_memory(error: Any) -> bool:
    """Whether a TensorFlow OpError means out of memory. A copy to a full GPU fails with another error
    (https://github.com/tensorflow/tensorflow/issues/7025)."""
    exhausted = isinstance(error, tensorflow().errors.ResourceExhaustedError)
    return exhausted or "Dst tensor is not initialized" in error.message


_log = logging.getLogger(__name__)


def tensorflow() -> Any:
    """Import the module `tensorflow`. Raises NotInstalledError."""
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read on the first import
        with _stderr_to_debug_log(), _without_keras(), _without_disk():
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
    """Block Keras, which TensorFlow imports for SavedModels with Keras layers. Ours have none, and the service starts
    0.8 s sooner and 60 MB smaller without it."""
    if "keras" in sys.modules:
        yield
        return
    sys.modules["keras"] = None  # type: ignore[assignment] # makes the import fail
    try:
        yield
    finally:
        del sys.modules["keras"]


@contextmanager
def _without_disk() -> Iterator[None]:
    """Set a temporary folder for the import. Some test tools that TensorFlow imports ask for one; to find it Python
    writes a file, which raises on a full or read-only disk. The service never writes there."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = "/tmp"
    try:
        yield
    finally:
        tempfile.tempdir = None  # looked up again on next use


@contextmanager
def _stderr_to_debug_log() -> Iterator[None]:
    """Log TensorFlow's start-up notes at level debug. Its libraries write them, and an error about CUDA on every host
    without a GPU, directly to file descriptor 2, whatever the log level, which alarms operators."""
    stderr = os.dup(2)
    # In memory: the service must start on a full disk, too.
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
