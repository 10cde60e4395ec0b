"""Reads the tensors of a PyTorch checkpoint without PyTorch, and without running what a pickle could run.

In: a file of `torch.save(network.state_dict())` in PyTorch's zip format (1.6 and later). Out: arrays by name.
The archive's pickle names callables; only the four that a plain state dict needs are known here, and none of them
is PyTorch's own. Anything else in it is an error, never called.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# A storage class's name, as pickled, and what its bytes hold.
STORAGES: Final = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
}


class CheckpointError(ValueError):
    """The file is not a plain state dict in PyTorch's zip format; the message says what was found."""


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays by tensor name, in the file's order. Raises CheckpointError or FileNotFoundError."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path}: not in PyTorch's zip format (1.6 and later); convert an older file with "
            "`torch.save(torch.load('old.pth', weights_only=True), 'new.pth')`"
        )
    with zipfile.ZipFile(path) as archive:
        try:
            return _load(archive)
        except (pickle.UnpicklingError, KeyError, ValueError, EOFError, TypeError) as error:
            raise CheckpointError(f"{path}: not a plain state dict: {error}") from error


def _load(archive: zipfile.ZipFile) -> dict[str, NDArray[Any]]:
    entry = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
    if entry is None:
        raise CheckpointError("the archive has no data.pkl")
    with archive.open(entry) as file:
        tensors = _TensorUnpickler(file, archive, entry.removesuffix("data.pkl")).load()
    if not isinstance(tensors, dict):
        raise CheckpointError(f"it holds a {type(tensors).__name__}, not a state dict")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, np.ndarray):
            raise CheckpointError(f"{name!r} is a {type(tensor).__name__}, not a tensor")
    return dict(tensors)


class _TensorUnpickler(pickle.Unpickler):
    """An unpickler that knows ordered dicts, tensors and storages, and refuses every other name."""

    def __init__(self, file: Any, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(file)
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in STORAGES:
            return lambda: STORAGES[name]
        raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is not part of a state dict")

    def persistent_load(self, pid: Any) -> NDArray[Any]:
        kind, storage, key, _location, count = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"unknown persistent object {kind!r}")
        flat = np.frombuffer(self._archive.read(f"{self._root}data/{key}"), storage())
        if len(flat) != count:
            raise pickle.UnpicklingError(f"storage {key} holds {len(flat)} values instead of {count}")
        return flat


def _rebuild_tensor(
    flat: NDArray[Any], offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> NDArray[Any]:
    """A view of `flat` by element strides, checked to stay inside, copied."""
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True) if n)
    if offset < 0 or min(strides, default=0) < 0 or (0 not in shape and last >= len(flat)):
        raise pickle.UnpicklingError(f"a tensor {shape} reaches outside of its storage")
    size = flat.dtype.itemsize
    byte_strides = tuple(step * size for step in strides)
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, byte_strides).copy()
