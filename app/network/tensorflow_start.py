"""TensorFlow, imported when it is first asked for: quietly, and without what a service does not need."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_log = logging.getLogger(__name__)


def tensorflow() -> Any:
    """The module `tensorflow`."""
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Read when it is first imported.
        with _start_up_notes_as_debug_log(), _without_keras(), _without_disk():
            import tensorflow

            tensorflow.config.list_physical_devices()
    import tensorflow

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
