"""Official checkpoints are read without PyTorch, safely, and every tensor finds its place."""

import collections
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest

from model.contract import verify
from model.u2net import u2net
from training.evaluate import load_network
from training.import_weights import WeightsError, assign_official, import_weights
from training.pytorch_checkpoint import CheckpointError, read_state_dict


class Storage:
    """Pickled as PyTorch pickles a storage: by persistent id."""

    def __init__(self, kind, key, count):
        self.pid = ("storage", kind, key, "cpu", count)


class Tensor:
    """Pickled as PyTorch pickles a tensor: a call of torch._utils._rebuild_tensor_v2."""

    def __init__(self, storage, offset, shape, strides):
        self.arguments = (storage, offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


@pytest.fixture(autouse=True)
def torch_names(monkeypatch):
    """Modules that only carry PyTorch's names, so that pickle can write references to them."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    utils._rebuild_tensor_v2 = types.FunctionType((lambda *a: a).__code__, {}, "_rebuild_tensor_v2")
    utils._rebuild_tensor_v2.__module__ = "torch._utils"
    utils._rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Storage) else None


def write_checkpoint(path, arrays, tensors=None):
    """`arrays` as a state dict in PyTorch's zip format; `tensors` replaces the pickled objects."""
    torch = sys.modules["torch"]
    storages, state = {}, collections.OrderedDict()
    for i, (name, array) in enumerate(arrays.items()):
        kind = torch.LongStorage if array.dtype == np.int64 else torch.FloatStorage
        strides = tuple(step // array.itemsize for step in np.ascontiguousarray(array).strides)
        storages[str(i)] = array.tobytes()
        state[name] = Tensor(Storage(kind, str(i), array.size), 0, array.shape, strides if array.ndim else ())
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("weights/data.pkl", "w") as file:
            Pickler(file, protocol=2).dump(state if tensors is None else tensors)
        for key, data in storages.items():
            archive.writestr(f"weights/data/{key}", data)
    return path


def official_tensors(variant):
    """Random tensors under the official names and in PyTorch's layout."""
    rng = np.random.default_rng(2)
    tensors = {}
    for layer in u2net(variant).layers:
        weights = {weight.name: tuple(weight.shape) for weight in layer.weights}
        if "kernel" in weights:
            high, wide, inner, outer = weights["kernel"]
            tensors[f"{layer.name}.weight"] = rng.normal(0, 0.05, (outer, inner, high, wide))
            tensors[f"{layer.name}.bias"] = rng.normal(0, 0.05, outer)
        elif "gamma" in weights:
            count = weights["gamma"][0]
            tensors[f"{layer.name}.weight"] = rng.uniform(0.5, 1.5, count)
            tensors[f"{layer.name}.bias"] = rng.normal(0, 0.1, count)
            tensors[f"{layer.name}.running_mean"] = rng.normal(0, 0.1, count)
            tensors[f"{layer.name}.running_var"] = rng.uniform(0.5, 1.5, count)
    floats = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    return floats | {"stage1.rebnconvin.bn_s1.num_batches_tracked": np.array(7)}


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    arrays = {
        "a": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "b": np.array(5),
        "c": np.float32([1]),
    }
    back = read_state_dict(write_checkpoint(tmp_path / "x.pth", arrays))
    assert list(back) == ["a", "b", "c"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)


def test_an_imported_checkpoint_becomes_an_artifact_of_these_weights(tmp_path):
    tensors = official_tensors("lite")
    checkpoint = write_checkpoint(tmp_path / "u2netp.pth", tensors)
    manifest = import_weights(checkpoint, tmp_path / "artifact", "lite", size=32)
    assert verify(tmp_path / "artifact") == manifest
    assert manifest.name == "u2netp"
    network = u2net("lite")
    assign_official(network, tensors)
    kernel = network.get_layer("stage2.rebnconv3d.conv_s1").get_weights()[0]
    np.testing.assert_array_equal(kernel[1, 2, 3, 4], tensors["stage2.rebnconv3d.conv_s1.weight"][4, 3, 1, 2])
    assert load_network(tmp_path / "artifact")(np.zeros((1, 32, 32, 3), np.uint8)).shape == (1, 32, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("side3.bias"), "lacks side3.bias"),
        (lambda t: t.update(extra=np.zeros(1)), "1 tensors too many: extra"),
        (lambda t: t.update({"outconv.weight": np.zeros((1, 7, 1, 1))}), r"outconv.weight is \(1, 1, 7, 1\)"),
    ],
)
def test_tensors_of_another_network_are_refused_and_nothing_changes(change, message):
    network = u2net("lite")
    before = network.get_weights()
    tensors = official_tensors("lite")
    change(tensors)
    with pytest.raises(WeightsError, match=message):
        assign_official(network, tensors)
    for a, b in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_pickle_that_calls_anything_else_is_refused_and_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'owned')!r}, 'w')",)

    path = write_checkpoint(tmp_path / "evil.pth", {}, tensors={"a": Evil()})
    with pytest.raises(CheckpointError, match=r"refers to \w+\.exec"):
        read_state_dict(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (["a"], "holds a list, not a state dict"),
        ({"a": 1}, "'a' is a int, not a tensor"),
    ],
)
def test_other_pickles_are_refused(tmp_path, tensors, message):
    with pytest.raises(CheckpointError, match=message):
        read_state_dict(write_checkpoint(tmp_path / "x.pth", {}, tensors=tensors))


@pytest.mark.parametrize(
    ("offset", "shape", "strides"), [(0, (5,), (1,)), (3, (2,), (1,)), (0, (2, 2), (1, 3))]
)
def test_a_tensor_that_reaches_outside_of_its_storage_is_refused(tmp_path, offset, shape, strides):
    float_storage = sys.modules["torch"].FloatStorage
    tensor = Tensor(Storage(float_storage, "0", 4), offset, shape, strides)
    path = tmp_path / "x.pth"
    write_checkpoint(path, {"a": np.zeros(4, np.float32)}, tensors={"a": tensor})
    with pytest.raises(CheckpointError, match="outside of its storage"):
        read_state_dict(path)


def test_files_that_are_no_checkpoint_are_told_apart(tmp_path):
    (tmp_path / "old.pth").write_bytes(b"\x80\x02\x8a\nl\xfc")
    with pytest.raises(CheckpointError, match="not in PyTorch's zip format"):
        read_state_dict(tmp_path / "old.pth")
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_state_dict(tmp_path / "none.pth")
    with zipfile.ZipFile(tmp_path / "empty.pth", "w") as archive:
        archive.writestr("x", "")
    with pytest.raises(CheckpointError, match=r"no data\.pkl"):
        read_state_dict(tmp_path / "empty.pth")
