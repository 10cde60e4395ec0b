"""TensorFlow, imported for the first time without its start-up notes.

Its libraries write notes, and on every host without a GPU an error about CUDA, straight to file descriptor 2,
whatever the log level. They frighten people who train on a CPU. They are kept back, and shown only where they tell
something: where TensorFlow fails to start, and where there is an NVIDIA GPU that it does not find.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, ParamSpec, TypeVar

NVIDIA_GPUS: Final = Path("/proc/driver/nvidia/gpus")  # the driver's own list

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def with_tensorflow(command: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """`command`, before which TensorFlow is started."""

    @functools.wraps(command)
    def started(*args: Arguments.args, **options: Arguments.kwargs) -> Result:
        start_tensorflow()
        return command(*args, **options)

    return started


def start_tensorflow() -> None:
    """Import it, and ask it for devices, which makes its libraries say what they have to say."""
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # read when it is first imported
    with tempfile.TemporaryFile() as notes:
        try:
            with _standard_error_in(notes):
                import tensorflow as tf

                tf.config.list_physical_devices()
            gpu_unseen = NVIDIA_GPUS.is_dir() and not tf.config.list_physical_devices("GPU")
        except ModuleNotFoundError:
            raise  # says enough
        except BaseException:
            _show(notes)
            raise
        if gpu_unseen:
            _show(notes)


def _show(notes: BinaryIO) -> None:
    notes.seek(0)
    sys.stderr.write(notes.read().decode(errors="replace"))


@contextmanager
def _standard_error_in(file: BinaryIO) -> Iterator[None]:
    """File descriptor 2 writes into `file`."""
    sys.stderr.flush()
    stderr = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
