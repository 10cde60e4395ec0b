"""Reads the tensors of a PyTorch checkpoint without PyTorch, and without running what a pickle could run.

In: a file of `torch.save(network.state_dict())`, in the zip format (1.6 and later) or in the older one, which the
official U²-Net files are in. Out: arrays by name. The pickles are `pytorch_pickle`'s business; here is where a file
keeps them and the storages' bytes:

    zip     */data.pkl, and */data/KEY for each storage, all uncompressed
    older   one after another: pickles of the magic number, of the version, of the machine, of the object and of the
            list of keys; then, in the list's order, each storage's count (int64) and bytes
"""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

from numpy.typing import NDArray

from training.weights.pytorch_pickle import Storage, StoredTensor, load_pickle

MAGIC: Final = 0x1950A86A20F9469CFC6C
VERSION: Final = 1001
ZIP_MARK: Final = b"PK\x03\x04"
TAR_MARK: Final = (257, b"ustar")  # where it stands, and what it is
# Where training scripts put the state dict, next to other things; one may be in another.
WRAPPERS: Final = ("state_dict", "model_state_dict", "model", "net")

# What zipfile raises for a damaged archive, besides its own error: for a name that is not UTF-8, for a flag or a
# version that it does not know, and for an offset outside of the file.
_DAMAGED: Final = (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError)

Contents = tuple[object, Mapping[str, bytes]]  # the object, and the bytes of its storages by key


class CheckpointError(ValueError):
    """The file is not a plain state dict in one of PyTorch's formats; the message says what was found."""


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays by tensor name, in the file's order; they are read-only. Raises CheckpointError or FileNotFoundError."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            found, data = _open_zip(file) if _starts_a_zip(file) else _read_older(file)
        return _arrays(found, data)
    except (pickle.UnpicklingError, CheckpointError) as error:
        raise CheckpointError(f"{path}: not a plain state dict of PyTorch: {error}") from error


def _starts_a_zip(file: IO[bytes]) -> bool:
    mark = file.read(len(ZIP_MARK))
    file.seek(0)
    return mark == ZIP_MARK


def _arrays(found: object, data: Mapping[str, bytes]) -> dict[str, NDArray[Any]]:
    """The state dict that `found` is or wraps, with arrays for tensors."""
    while isinstance(found, dict):
        wrapped = next((found[name] for name in WRAPPERS if isinstance(found.get(name), dict)), None)
        if wrapped is None:
            break
        found = wrapped
    if not isinstance(found, dict):
        raise CheckpointError(f"it holds a {type(found).__name__}, not a state dict")
    arrays = {}
    for name, tensor in found.items():
        if not isinstance(name, str):
            raise CheckpointError(f"a name is a {type(name).__name__}, not a string")
        if not isinstance(tensor, StoredTensor):
            raise CheckpointError(f"{name!r} is a {type(tensor).__name__}, not a tensor")
        arrays[name] = _array(name, tensor, data)
    return arrays


def _array(name: str, tensor: StoredTensor, data: Mapping[str, bytes]) -> NDArray[Any]:
    try:
        return tensor.array(data)
    except (ValueError, TypeError, OverflowError) as error:  # more axes or values than NumPy can count
        raise CheckpointError(f"{name!r} is not an array: {error}") from error


def _open_zip(file: IO[bytes]) -> Contents:
    try:
        with zipfile.ZipFile(file) as archive:
            return _read_zip(archive, _size(file))
    except CheckpointError:
        raise
    except _DAMAGED as error:
        raise CheckpointError(f"the archive is damaged: {error}") from error


def _read_zip(archive: zipfile.ZipFile, size: int) -> Contents:
    entries = {entry.filename: entry for entry in archive.infolist()}
    _check_entries(entries, size)
    listing = next((name for name in entries if name.endswith("/data.pkl")), None)
    if listing is None:
        raise CheckpointError("the archive has no data.pkl")
    with archive.open(listing) as opened:
        found, storages = load_pickle(opened)
    folder = f"{listing.removesuffix('.pkl')}/"
    return found, {key: _read_entry(archive, folder + key, storage) for key, storage in storages.items()}


def _check_entries(entries: Mapping[str, zipfile.ZipInfo], size: int) -> None:
    """PyTorch stores bytes as they are, so that entries larger than the file are meant to fill the memory."""
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries.values()):
        raise CheckpointError("the archive has compressed or encrypted entries, which PyTorch does not write")
    if sum(entry.file_size for entry in entries.values()) > size:
        raise CheckpointError("the archive's entries are larger than the file")


def _read_entry(archive: zipfile.ZipFile, name: str, storage: Storage) -> bytes:
    try:
        content = archive.read(name)
    except KeyError:
        raise CheckpointError(f"storage {storage.key} is missing") from None
    if len(content) != storage.size:
        raise CheckpointError(f"storage {storage.key} holds {len(content)} bytes instead of {storage.size}")
    return content


def _read_older(file: IO[bytes]) -> Contents:
    _refuse_tar(file)
    if load_pickle(file)[0] != MAGIC:
        raise CheckpointError("it starts with another object than PyTorch's magic number")
    version = load_pickle(file)[0]
    if version != VERSION:
        raise CheckpointError(f"its version is not {VERSION}")
    machine = load_pickle(file)[0]
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise CheckpointError("it was not written on a little-endian machine")
    found, storages = load_pickle(file)
    keys = load_pickle(file)[0]
    return found, _read_storages(file, keys, storages)


def _refuse_tar(file: IO[bytes]) -> None:
    position, mark = TAR_MARK
    file.seek(position)
    found = file.read(len(mark))
    file.seek(0)
    if found == mark:
        raise CheckpointError("it is in PyTorch's first format, a tar archive, which is not read")


def _read_storages(file: IO[bytes], keys: object, storages: Mapping[str, Storage]) -> dict[str, bytes]:
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise CheckpointError("its list of storages is not a list of keys")
    if sorted(keys) != sorted(storages):
        raise CheckpointError("its list of storages differs from those that the tensors are in")
    data = {}
    for key in keys:
        count = int.from_bytes(_read_exactly(file, 8), "little", signed=True)
        if count != storages[key].length:
            raise CheckpointError(f"storage {key} holds {count} values instead of {storages[key].length}")
        data[key] = _read_exactly(file, storages[key].size)
    return data


def _read_exactly(file: IO[bytes], length: int) -> bytes:
    """Asks for no more than there is, because `read` makes room for what it is asked."""
    position, size = file.tell(), _size(file)
    if length > size - position:
        raise CheckpointError(f"it is truncated: {length} bytes from {position} on, in a file of {size}")
    return file.read(length)


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size
