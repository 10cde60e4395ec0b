"""Checkpoint files as PyTorch writes them, opcode by opcode, so that they can hold what pickle would not write."""

import zipfile
from typing import NamedTuple

import numpy as np

KINDS = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
}


class Name(NamedTuple):
    module: str
    name: str


class Call(NamedTuple):
    function: Name
    arguments: tuple


class Build(NamedTuple):
    """BUILD: `state` is set on `target`."""

    target: object
    state: object


class Persistent(NamedTuple):
    pid: object


def emit(thing):
    """The opcodes that push `thing`: protocol 2, without a memo."""
    match thing:
        case Name():
            return f"c{thing.module}\n{thing.name}\n".encode()
        case Call():
            return emit(thing.function) + emit(thing.arguments) + b"R"
        case Build():
            return emit(thing.target) + emit(thing.state) + b"b"
        case Persistent():
            return emit(thing.pid) + b"Q"
        case None:
            return b"N"
        case bool():
            return b"\x88" if thing else b"\x89"
        case int():
            return b"\x8a\x10" + thing.to_bytes(16, "little", signed=True)
        case str():
            return b"X" + len(thing.encode()).to_bytes(4, "little") + thing.encode()
        case tuple() | list():
            return b"(" + b"".join(map(emit, thing)) + (b"t" if isinstance(thing, tuple) else b"l")
        case dict():
            return b"(" + b"".join(emit(key) + emit(value) for key, value in thing.items()) + b"d"
    raise TypeError(type(thing))


def dump(thing):
    return b"\x80\x02" + emit(thing) + b"."


def storage(key, count, kind="FloatStorage", *view):
    """The older format's id has a sixth part, `view`: None or a tuple."""
    return Persistent(("storage", Name("torch", kind), key, "cpu", count, *view))


def tensor(stored, offset, shape, strides, *flags):
    """Without `flags`, as PyTorch wrote it before 0.4."""
    version = "_rebuild_tensor_v2" if flags else "_rebuild_tensor"
    return Call(Name("torch._utils", version), (stored, offset, shape, strides, *flags))


def ordered(items=()):
    return Call(Name("collections", "OrderedDict"), (list(map(list, items)),) if items else ())


def one_storage_each(arrays, *view):
    """`(state dict, flat arrays by key)` of arrays by name."""
    state, data = {}, {}
    for key, (name, array) in enumerate(arrays.items()):
        array = np.asarray(array, order="C")
        data[str(key)] = array.ravel()
        strides = tuple(step // array.itemsize for step in array.strides)
        stored = storage(str(key), array.size, KINDS[array.dtype.name], *view)
        state[name] = tensor(stored, 0, array.shape, strides, False, ordered())
    return state, data


def write_zip(path, state, data):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", dump(state))
        for key, values in data.items():
            archive.writestr(f"weights/data/{key}", values.tobytes())
    return path


def write_older(path, state, data, **replaced):
    """`replaced`: the bytes of magic, version, machine, object, keys or storages."""
    parts = {
        "magic": dump(0x1950A86A20F9469CFC6C),
        "version": dump(1001),
        "machine": dump({"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}),
        "object": dump(state),
        "keys": dump(list(data)),
        "storages": b"".join(
            values.size.to_bytes(8, "little") + values.tobytes() for values in data.values()
        ),
    }
    path.write_bytes(b"".join((parts | replaced).values()))
    return path
