"""Reads one pickle of a PyTorch checkpoint into descriptions of its tensors, and runs nothing that it names.

In: an open file that stands at the start of a pickle. Out: the object in it, with a `StoredTensor` for each tensor,
and the storages that these refer to. Where the storages' bytes lie is the container's business.

A pickle names callables. The few that a plain state dict needs are known here, and none of them is PyTorch's own; any
other name is an error, never looked up. What a pickle can get hold of is either a tuple or made for this one reading,
because BUILD sets attributes on any object that has them.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import IO, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

# A storage class's name, as pickled, and what its bytes hold.
STORAGES: Final[Mapping[str, np.dtype[Any]]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
}

# What a corrupt pickle raises; pickle's documentation warns of more than UnpicklingError. MemoryError is a length
# prefix of exabytes.
_CORRUPT: Final = (
    *(pickle.UnpicklingError, EOFError, AttributeError, TypeError, ValueError),
    *(LookupError, OverflowError, MemoryError),
)


class Storage(NamedTuple):
    """`length` values of the storage class `kind`, which the file keeps under `key`."""

    kind: str
    key: str
    length: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its values, little-endian."""
        return STORAGES[self.kind]

    @property
    def size(self) -> int:
        """In bytes."""
        return self.length * self.dtype.itemsize


class StorageView(NamedTuple):
    """The `length` values of `storage` from `start` on."""

    storage: Storage
    start: int
    length: int


class StoredTensor(NamedTuple):
    """A tensor of `shape` in a storage; `offset` and `strides` count values. It lies inside of the storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, data: Mapping[str, bytes]) -> NDArray[Any]:
        """A read-only view of the bytes under its storage's key, so that shared and expanded tensors take no room.

        Raises ValueError or TypeError if the bytes are too few.
        """
        dtype = self.storage.dtype
        byte_strides = tuple(step * dtype.itemsize for step in self.strides)
        byte_offset = self.offset * dtype.itemsize
        return np.ndarray(self.shape, dtype, data[self.storage.key], byte_offset, byte_strides)


def load_pickle(file: IO[bytes]) -> tuple[object, dict[str, Storage]]:
    """`(the object, its storages by key)`; `file` then stands behind the pickle. Raises pickle.UnpicklingError."""
    try:
        _check_memo(file)
        unpickler = _TensorUnpickler(file)
        return unpickler.load(), unpickler.storages
    except _CORRUPT as error:
        raise pickle.UnpicklingError(str(error) or type(error).__name__) from error


def _check_memo(file: IO[bytes]) -> None:
    """Refuse a memo index beyond the pickle's own length; `file` stands where it stood.

    Older Pythons make room at once for every index below it: up to 64 GiB for five bytes of pickle
    (https://github.com/python/cpython/issues/115952).
    """
    start = file.tell()
    for opcode, index, position in pickletools.genops(file):
        if opcode.name in ("PUT", "LONG_BINPUT") and int(index or 0) > (position or 0) - start:
            raise pickle.UnpicklingError(f"the memo index {index} is out of range")
    file.seek(start)


class _StateDict(dict[Any, Any]):
    """Stands for OrderedDict. Without attributes, so that `_metadata` is dropped and nothing overridden."""

    __slots__ = ()

    def __setstate__(self, _: object) -> None:
        pass


class _TensorUnpickler(pickle.Unpickler):
    """An unpickler that knows ordered dicts, tensors and storages, and refuses every other name."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> str | Callable[..., Any]:
        if module == "torch" and name in STORAGES:
            return name
        if (module, name) == ("collections", "OrderedDict"):
            return lambda *items: _StateDict(*items)
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return lambda *arguments: _stored_tensor(*arguments)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, _requires_grad, _hooks: tensor
        raise pickle.UnpicklingError(
            f"it refers to {module}.{name}, which is not part of a state dict; save network.state_dict() alone"
        )

    def persistent_load(self, pid: Any) -> StorageView:
        """The zip format's id has five parts; the older one's sixth is None or `(key of the view, start, length)`."""
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
            raise pickle.UnpicklingError("it has a persistent object that is not a storage")
        kind, key, _location, count = pid[1:5]
        if kind not in STORAGES or not isinstance(key, str) or not _are_counts((count,)):
            raise pickle.UnpicklingError("it has a storage without a class, a key and a count")
        storage = Storage(kind, key, count)
        if self.storages.setdefault(key, storage) != storage:
            raise pickle.UnpicklingError(f"storage {key} has two types or two counts")
        view = pid[5] if len(pid) == 6 else None
        _view_key, start, length = (None, 0, count) if view is None else view
        if not _are_counts((start, length)) or start + length > count:
            raise pickle.UnpicklingError(f"a view reaches outside of storage {key}")
        return StorageView(storage, start, length)


def _stored_tensor(
    view: object,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    _requires_grad: object = False,
    _hooks: object = None,
    metadata: object = None,
) -> StoredTensor:
    """The tensor, checked to stay inside of its view. `_rebuild_tensor` (before 0.4) ends with the strides."""
    if not isinstance(view, StorageView) or metadata:
        raise pickle.UnpicklingError("it has a tensor that is not plain values in a storage")
    if not _are_counts((offset,)) or not _are_counts(shape) or not _are_counts(strides):
        raise pickle.UnpicklingError("it has a tensor whose shape or strides are not counts")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if offset > view.length or (0 not in shape and last >= view.length):
        raise pickle.UnpicklingError(f"a tensor {shape} reaches outside of its storage")
    return StoredTensor(view.storage, view.start + offset, shape, strides)


def _are_counts(values: object) -> bool:
    return isinstance(values, tuple) and all(type(value) is int and 0 <= value < 2**63 for value in values)
