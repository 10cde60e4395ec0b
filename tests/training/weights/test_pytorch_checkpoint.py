"""Both of PyTorch's formats are read without PyTorch; whatever is not a plain state dict is refused, not run."""

import base64
import tarfile
import zipfile
import zlib

import numpy as np
import pytest

from tests.training.pytorch_files import (
    Build,
    Call,
    Name,
    dump,
    one_storage_each,
    ordered,
    storage,
    tensor,
    write_older,
    write_zip,
)
from training.weights.pytorch_checkpoint import CheckpointError, read_state_dict

ARRAYS = {
    "a": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "steps": np.array(5),
    "c": np.float32([1]),
    "wide": np.float64([[0.1, 0.2]]),
    "narrow": np.float16([7]),
    "none": np.zeros((0, 3), np.float32),
}
SIX = {"0": np.arange(6, dtype=np.float32)}

# torch 2.13, save(..., _use_new_zipfile_serialization=False): `a` [2,3] of 0..5, `turned` = a.t(), `row` = a[1],
# `steps` = 7, and `one`, a Parameter. The base64 is of the compressed file.
BY_TORCH = """
eNp9kktz0zAQx/1KQg0t5U15tjwdHiFJ4zQ9tQemF5VH3YsujMe1NbUZY2UluQzMZCaXhsJn4MCRr8ZHYIYDazsFZghorJW1kn7/
1WrHxic7/fF56/vy668vl1pj49k3E+0INIcuapo2FFzxkKf+ARMy4RnouIHO40qaKJUyn2VREmRgHFEbnerdkPkyec8kmCOwHFpD
p4y5UFAjBjVxlmQK6sSiVsHg2T40iJXnqBmiTMpChSrSfiEiJlj0NAmVDVrTA92hOp4IwAgVF2Hc8nOVpNL2BdvLkzTyFcskF/5B
1wbTcWijEMadwT4Dqzpib6U8ULuV04YaXcA96z232+mvDdpraHpQL2MMhzmGVX+u4MQO0YhBzAnMEZPoE7A/xkU4JxWc8mCe1otL
5yJjESzEqBtb8Uzu6bjiLRY8kxgTOEP0Anu24p1TcN6DC6W64G/h4v9gl6awyzuIMg9hieiHcKUCXVVwzYPrVeIVG0q4UaGmOdjG
lP9Kwc3fdHe903fd7qANy0jXkb6CoTabFfWWgtse3CnD4xmDu/94hGEggjdMMWHDvb9vgBruYLXdHsD9qYZTpAODbxbmQaX1UMEj
Dx4flZPWB3jiQTsfQYfOIcdHehAFKoBuub5K0alBbwRu+eTHZdonupRyD8vqVVHKM0LQZ93dmJVuk7WK0qvaeOP4vzEd69qfbbyB
ZhM/7GPsXzZ/Ais424c=
"""


@pytest.fixture(params=[write_zip, write_older])
def write(request):
    return request.param


def assert_same(back, arrays):
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)


def test_a_checkpoint_is_read_as_it_was_written(tmp_path, write):
    assert_same(read_state_dict(write(tmp_path / "x.pth", *one_storage_each(ARRAYS))), ARRAYS)


def test_a_file_that_pytorch_wrote_is_read(tmp_path):
    (tmp_path / "x.pth").write_bytes(zlib.decompress(base64.b64decode(BY_TORCH)))
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = {"a": a, "turned": a.T, "row": a[1], "steps": np.array(7), "one": np.ones(1, np.float32)}
    assert_same(read_state_dict(tmp_path / "x.pth"), expected)


def test_tensors_may_share_a_storage_and_stride_through_it(tmp_path, write):
    stored = storage("0", 6, "FloatStorage", *([None] if write is write_older else []))
    state = {
        "turned": tensor(stored, 0, (3, 2), (1, 3), False, ordered()),
        "row": tensor(stored, 3, (3,), (1,), False, ordered()),
        "column": tensor(stored, 1, (2, 1), (3, 2**40), False, ordered()),
        "expanded": tensor(stored, 5, (1000, 1000, 1000, 1000), (0, 0, 0, 0), False, ordered()),
        "scalar": tensor(stored, 2, (), ()),
        "empty": tensor(stored, 6, (0, 3), (3, 1)),
    }
    back = read_state_dict(write(tmp_path / "x.pth", state, SIX))
    assert back.pop("expanded")[-1, -1, -1, -1] == 5  # 4 TB if it were copied
    a = SIX["0"].reshape(2, 3)
    rest = {"turned": a.T, "row": a[1], "column": a[:, 1:2], "scalar": a[0, 2], "empty": a[2:]}
    assert_same(back, rest)


def test_a_parameter_and_a_view_of_a_storage_are_read(tmp_path):
    view = storage("0", 6, "FloatStorage", ("7", 2, 3))
    parameter = Call(
        Name("torch._utils", "_rebuild_parameter"), (tensor(view, 1, (2,), (1,)), True, ordered())
    )
    back = read_state_dict(write_older(tmp_path / "x.pth", {"a": parameter}, SIX))
    assert_same(back, {"a": np.float32([3, 4])})


@pytest.mark.parametrize(
    "wrappers",
    [["state_dict"], ["model"], ["model_state_dict"], ["net"], ["model", "state_dict"], ["net", "net"]],
)
def test_what_training_scripts_put_around_a_state_dict_is_taken_off(tmp_path, write, wrappers):
    state, data = one_storage_each(ARRAYS)
    for wrapper in reversed(wrappers):
        state = {"epoch": 3, wrapper: state}
    assert_same(read_state_dict(write(tmp_path / "x.pth", state, data)), ARRAYS)


def test_attributes_set_by_a_pickle_change_nothing(tmp_path, write):
    state, data = one_storage_each({"a": np.ones(2)})
    rebuild = Name("torch._utils", "_rebuild_tensor_v2")
    shadow = ({"items": 1, "get": 1}, {"__defaults__": (1, 2, 3)})
    wrapped = Build(
        ordered([("state_dict", Build(ordered(state.items()), shadow)), ("x", Build(rebuild, shadow))]),
        shadow,
    )
    for _ in range(2):  # what the first reading set must not be there in the second
        assert_same(read_state_dict(write(tmp_path / "x.pth", wrapped, data)), {"a": np.ones(2)})


def evil(folder):
    return {"a": Call(Name("builtins", "exec"), (f"open({str(folder / 'owned')!r}, 'w')",))}


@pytest.mark.parametrize("part", ["magic", "version", "machine", "object", "keys"])
def test_a_pickle_that_calls_anything_else_is_refused_and_never_run(tmp_path, part):
    path = write_older(tmp_path / "x.pth", {}, {}, **{part: dump(evil(tmp_path))})
    with pytest.raises(CheckpointError, match=r"refers to builtins\.exec"):
        read_state_dict(path)
    assert not (tmp_path / "owned").exists()


def test_a_call_in_a_zips_pickle_is_refused_and_never_run(tmp_path):
    with pytest.raises(CheckpointError, match=r"refers to builtins\.exec"):
        read_state_dict(write_zip(tmp_path / "x.pth", evil(tmp_path), {}))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (["a"], "holds a list, not a state dict"),
        ({"a": 1}, "'a' is a int, not a tensor"),
        ({"model": {"a": 1}}, "'a' is a int, not a tensor"),
        ({1: 1}, "a name is a int"),
    ],
)
def test_other_objects_are_refused(tmp_path, write, state, message):
    with pytest.raises(CheckpointError, match=message):
        read_state_dict(write(tmp_path / "x.pth", state, {}))


def test_more_axes_than_numpy_counts_are_refused(tmp_path, write):
    state = {"a": tensor(storage("0", 6), 0, (1,) * 65, (1,) * 65)}
    with pytest.raises(CheckpointError, match="'a' is not an array"):
        read_state_dict(write(tmp_path / "x.pth", state, SIX))


@pytest.mark.parametrize(
    ("part", "content", "message"),
    [
        ("magic", dump(0x1950), "another object than PyTorch's magic number"),
        ("magic", b"<!DOCTYPE html>", "not a plain state dict of PyTorch: at position 0, opcode .* unknown"),
        ("version", dump(1002), "version is not 1001"),
        ("machine", dump({"little_endian": False}), "not written on a little-endian machine"),
        ("machine", dump({}), "not written on a little-endian machine"),
        ("machine", dump(1), "not written on a little-endian machine"),
        ("keys", dump(("0",)), "not a list of keys"),
        ("keys", dump([0]), "not a list of keys"),
        ("keys", dump([]), "differs from those"),
        ("keys", dump(["0", "0"]), "differs from those"),
        ("keys", dump(["1"]), "differs from those"),
        ("storages", b"\5" + bytes(7 + 24), "storage 0 holds 5 values instead of 6"),
        ("storages", b"\xff" * 8 + bytes(24), "storage 0 holds -1 values instead of 6"),
        ("storages", b"\6" + bytes(7 + 23), "truncated: 24 bytes from \\d+ on"),
    ],
)
def test_a_part_of_the_older_format_that_is_wrong_is_named(tmp_path, part, content, message):
    state = {"a": tensor(storage("0", 6), 0, (6,), (1,))}
    with pytest.raises(CheckpointError, match=message):
        read_state_dict(write_older(tmp_path / "x.pth", state, SIX, **{part: content}))


def test_a_storage_larger_than_the_file_is_refused_before_it_is_read(tmp_path):
    count = 2**60
    state = {"a": tensor(storage("0", count), 0, (1,), (1,))}
    path = write_older(tmp_path / "x.pth", state, SIX, storages=count.to_bytes(8, "little") + bytes(24))
    with pytest.raises(CheckpointError, match=f"truncated: {4 * count} bytes"):
        read_state_dict(path)


def test_every_truncation_is_a_checkpoint_error(tmp_path, write):
    arrays = {"a": ARRAYS["a"][0], "steps": ARRAYS["steps"]}
    whole = write(tmp_path / "whole.pth", *one_storage_each(arrays)).read_bytes()
    part = tmp_path / "part.pth"
    for length in range(len(whole)):
        part.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            read_state_dict(part)


def test_files_that_are_no_checkpoint_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_state_dict(tmp_path / "none.pth")
    (tmp_path / "tensors").write_bytes(b"")
    with tarfile.open(tmp_path / "tar.pth", "w") as archive:
        archive.add(tmp_path / "tensors", "tensors")
    with pytest.raises(CheckpointError, match="first format, a tar archive"):
        read_state_dict(tmp_path / "tar.pth")


def test_a_zip_that_pytorch_would_not_write_is_refused(tmp_path):
    state, _ = one_storage_each({"a": np.ones(6, np.float32)})
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "")
    with pytest.raises(CheckpointError, match=r"no data\.pkl"):
        read_state_dict(path)
    with pytest.raises(CheckpointError, match="storage 0 is missing"):
        read_state_dict(write_zip(path, state, {}))
    with pytest.raises(CheckpointError, match="storage 0 holds 20 bytes instead of 24"):
        read_state_dict(write_zip(path, state, {"0": SIX["0"][:5]}))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights/data.pkl", dump(state))
    with pytest.raises(CheckpointError, match="compressed or encrypted"):
        read_state_dict(path)


@pytest.mark.parametrize(
    ("position", "byte"),
    [
        (8, 0x40),  # flags: strong encryption
        (6, 99),  # the version that is needed
        (46, 0xFF),  # the name's first byte, with the flag of UTF-8
        (42, 0x7F),  # where the entry starts
    ],
)
def test_a_damaged_entry_of_a_zip_is_a_checkpoint_error(tmp_path, position, byte):
    path = write_zip(tmp_path / "x.pth", *one_storage_each({"a": np.ones(6, np.float32)}))
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\1\2")
    content[entry + 9] |= 8
    content[entry + position] = byte
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        read_state_dict(path)
