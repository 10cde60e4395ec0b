"""A pickle yields descriptions of tensors inside of their storages, or UnpicklingError, and runs nothing."""

import io
import pickle

import pytest

from tests.training.pytorch_files import Call, Name, Persistent, dump, ordered, storage, tensor
from training.weights.pytorch_pickle import Storage, StoredTensor, load_pickle


def load(content):
    return load_pickle(io.BytesIO(content))


def test_a_tensor_is_described_with_its_storage():
    found, storages = load(dump({"a": tensor(storage("7", 6, "HalfStorage"), 1, (2,), (3,))}))
    half = Storage("HalfStorage", "7", 6)
    assert found == {"a": StoredTensor(half, 1, (2,), (3,))}
    assert storages == {"7": half}
    assert half.size == 12


def test_the_file_stands_behind_the_pickle_afterwards():
    file = io.BytesIO(dump([1]) + dump("next") + b"rest")
    assert load_pickle(file) == ([1], {})
    assert load_pickle(file) == ("next", {})
    assert file.read() == b"rest"


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_is_read(protocol):
    assert load(pickle.dumps({"a": [1, "b", None]}, protocol))[0] == {"a": [1, "b", None]}


@pytest.mark.parametrize(
    "name",
    [
        *(
            ("builtins", "exec"),
            ("os", "system"),
            ("collections", "Counter"),
            ("training.weights.pytorch_pickle", "np"),
        ),
        *(("torch", "load"), ("torch", "ByteStorage"), ("torch._utils", "_import_dotted_name")),
    ],
)
def test_other_names_are_refused_even_without_a_call(name):
    with pytest.raises(pickle.UnpicklingError, match=rf"refers to {name[0]}\.{name[1]}, which is not part"):
        load(dump(Name(*name)))


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (Persistent("0"), "persistent object that is not a storage"),
        (Persistent(("module", "0", "0", "cpu", 4)), "persistent object that is not a storage"),
        (Persistent(("storage", "0", "0", "cpu", 4)), "without a class, a key and a count"),
        (Persistent(("storage", [], "0", "cpu", 4)), "unhashable"),
        (
            Persistent(("storage", Name("torch", "LongStorage"), 0, "cpu", 4)),
            "without a class, a key and a count",
        ),
        (storage("0", -1), "without a class, a key and a count"),
        (storage("0", 2**63), "without a class, a key and a count"),
        ([storage("0", 4), storage("0", 5)], "storage 0 has two types or two counts"),
        ([storage("0", 4), storage("0", 4, "LongStorage")], "storage 0 has two types or two counts"),
        (storage("0", 6, "FloatStorage", ("1", 4, 3)), "a view reaches outside of storage 0"),
        (storage("0", 6, "FloatStorage", ("1", -1, 3)), "a view reaches outside of storage 0"),
        (storage("0", 6, "FloatStorage", 1), "cannot unpack"),
        (tensor(1, 0, (), ()), "not plain values in a storage"),
        (
            tensor(storage("0", 6), 0, (), (), False, ordered(), {"neg": True}),
            "not plain values in a storage",
        ),
        (Call(Name("torch._utils", "_rebuild_tensor_v2"), (1,)), "missing 3 required"),
        (Call(ordered(), ()), "not callable"),
    ],
)
def test_what_is_not_a_plain_tensor_is_refused(thing, message):
    with pytest.raises(pickle.UnpicklingError, match=message):
        load(dump(thing))


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "message"),
    [
        (0, (7,), (1,), "outside of its storage"),
        (5, (2,), (1,), "outside of its storage"),
        (6, (), (), "outside of its storage"),
        (7, (0,), (1,), "outside of its storage"),
        (0, (2, 2), (1, 5), "outside of its storage"),
        (0, (2**40, 2**40), (1, 0), "outside of its storage"),
        (0, (2,), (1, 1), "shorter|longer"),
        (0, (-1,), (1,), "not counts"),
        (5, (2,), (-1,), "not counts"),
        (-1, (2,), (1,), "not counts"),
        (0, (True,), (1,), "not counts"),
        (0, [2], (1,), "not counts"),
        (2**70, (1,), (1,), "not counts"),
    ],
)
def test_a_tensor_outside_of_its_storage_is_refused(offset, shape, strides, message):
    with pytest.raises(pickle.UnpicklingError, match=message):
        load(dump(tensor(storage("0", 6), offset, shape, strides, False, ordered())))


def test_a_tensor_outside_of_its_view_is_refused():
    with pytest.raises(pickle.UnpicklingError, match="outside of its storage"):
        load(dump(tensor(storage("0", 6, "FloatStorage", ("1", 0, 3)), 0, (4,), (1,))))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "pickle exhausted|Ran out of input"),
        (b"\x80\x02r\xff\xff\xff\x7f.", "memo index 2147483647 is out of range"),
        (b"\x80\x02Np2147483647\n.", "memo index 2147483647 is out of range"),
        (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.", "bytes8"),  # a bytes object of 8 EiB
        (b"\x80\x02N", "exhausted"),
        (b"\x80\x02N}X\x01\0\0\0aNsb.", "no attribute"),  # BUILD of {"a": None} on None
        (b"<!DOCTYPE html>", "opcode"),
    ],
)
def test_a_corrupt_pickle_is_an_unpickling_error(content, message):
    with pytest.raises(pickle.UnpicklingError, match=message):
        load(content)
