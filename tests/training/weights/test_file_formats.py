"""A file of weights is known by its content; of any other file a person is told what it is and what to do."""

import gzip
import io
import json
import sys
import tarfile
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.training.official_tensors import SMALL, official_tensors
from tests.training.onnx_files import write as write_onnx
from tests.training.pytorch_files import Call, Name, one_storage_each, write_older, write_zip
from training.weights.file_formats import read_weights
from training.weights.official import WeightsError
from training.weights.pytorch_checkpoint import CheckpointError

PAGE = "\n<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head></html>"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 176194565\n"


@pytest.fixture(scope="module")
def tensors():
    return official_tensors(*SMALL)


def write_safetensors(path, tensors):
    save_file(tensors, path)
    return path


def write_wrapped(path, tensors):
    state, data = one_storage_each({f"module.net.{name}": tensor for name, tensor in tensors.items()})
    return write_zip(path, {"epoch": 3, "model": {"state_dict": state}}, data)


@pytest.mark.parametrize("name", ["u2net.pth", "u2net.onnx", "u2net"])
@pytest.mark.parametrize(
    "write", [lambda p, t: write_older(p, *one_storage_each(t)), write_wrapped, write_safetensors]
)
def test_state_dicts_are_read_whatever_the_file_is_called(tmp_path, tensors, write, name):
    read = read_weights(write(tmp_path / name, tensors)).tensors
    assert read.keys() == tensors.keys()
    for each, tensor in tensors.items():
        np.testing.assert_array_equal(read[each], tensor)


def test_an_onnx_file_is_read_whatever_it_is_called(tmp_path, tensors):
    assert read_weights(write_onnx(tmp_path / "u2net.pth", tensors)).folded


def test_tensors_in_bfloat16_are_read(tmp_path, tensors):
    """safetensors writes none from NumPy, so the file is made by hand."""
    header, data = {}, b""
    for name, tensor in tensors.items():
        upper = (tensor.astype(np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()
        header[name] = {
            "dtype": "BF16",
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(upper)],
        }
        data += upper
    told = json.dumps(header).encode()
    (tmp_path / "x").write_bytes(len(told).to_bytes(8, "little") + told + data)
    read = read_weights(tmp_path / "x").tensors
    for name, tensor in tensors.items():
        np.testing.assert_allclose(read[name], tensor, rtol=2**-7)


def archive_of(**entries):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)
    return buffer.getvalue()


KERAS = "is a Keras file, .*import the PyTorch or ONNX file of the network, or, .*training export RUN_DIR"
KNOWN = r"PyTorch \(.pth, .pt\), safetensors and ONNX files are read"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty; the download failed: get it again"),
        (PAGE.encode(), "is a web page, not weights: .*; get the file in a browser"),
        (b"\xef\xbb\xbf" + PAGE.encode(), "is a web page"),
        (PAGE.encode() + b" " * 4077 + "é".encode(), "is a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is a web page"),
        (POINTER.encode(), r"is a Git LFS pointer for 176\.2 MB, .* in its repository: git lfs pull"),
        (
            b'{"error": "Repository not found"}',
            'is JSON, .*, and no weights: {"error": "Repository not found"}',
        ),
        (b'[{"name": "u2net"}]', "is JSON, "),
        (b"404: Not Found", "is a text, not weights: 404: Not Found"),
        (b"[section]\nkey = 1\n", r"is a text, not weights: \[section\] key = 1"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), KERAS),
        (archive_of(config_json="{}", metadata_json="{}", model_weights_h5=""), KERAS),
        (
            archive_of(u2net__code___torch_py="", u2net__data_pkl=""),
            r"is a TorchScript program, .*torch.jit.load",
        ),
        (archive_of(u2net_onnx="", readme_txt=""), "is a zip archive of u2net.onnx, readme.txt; unpack it"),
        (
            gzip.compress(b"weights", mtime=0),
            "is a compressed archive; unpack it and give the file of weights inside",
        ),
        (b"\x93NUMPY\x01\x00", f"is a NumPy array, not a network's weights; {KNOWN}"),
        (b"\x1c\0\0\0TFL3" + bytes(40), f"is a TensorFlow Lite model, which is not read; {KNOWN}"),
        (
            b"\xff\xd8\xff\xe0" + bytes(40),
            rf"is of no kind that is known \(it begins with ff d8 ff e0\); {KNOWN}",
        ),
    ],
)
def test_what_is_no_file_of_weights_is_told_in_one_sentence(tmp_path, content, sentence):
    file = tmp_path / "u2net.onnx"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=f"^{file}: {sentence}") as told:
        read_weights(file)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < len(str(file)) + 300


@pytest.mark.parametrize(
    ("inside", "sentence"),
    [
        ("manifest.json", r"is an artifact already: serve it \(MATTE_MODEL_DIR\), or train on from it"),
        ("saved_model.pb", "is a TensorFlow SavedModel, which is not read"),
        ("u2net.pth", "is a directory; give the file of weights in it"),
    ],
)
def test_a_directory_is_told_by_what_is_in_it(tmp_path, inside, sentence):
    (tmp_path / inside).touch()
    with pytest.raises(WeightsError, match=f"^{tmp_path}: {sentence}"):
        read_weights(tmp_path)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"u2net.pth: no such file"):
        read_weights(tmp_path / "u2net.pth")


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (
            lambda p, t: write_zip(p, *one_storage_each(t)),
            "begins like a PyTorch file, but is damaged or cut short",
        ),
        (
            lambda p, t: write_older(p, *one_storage_each(t)),
            "not a plain state dict of PyTorch: it is truncated",
        ),
        (write_safetensors, "is a safetensors file, but damaged or cut short .*: get it again"),
        (write_onnx, "begins like an ONNX file, but is damaged or cut short at .* bytes: get it again"),
    ],
)
@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_cut_download_is_told(tmp_path, tensors, write, sentence, share):
    file = tmp_path / "u2net"
    write(file, tensors)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises((WeightsError, CheckpointError), match=f"^{file}: {sentence}"):
        read_weights(file)


def test_a_whole_network_is_not_unpickled_and_its_state_dict_asked_for(tmp_path):
    whole = Call(Name("model.u2net", "U2NET"), ())
    with pytest.raises(
        CheckpointError, match=r"refers to model.u2net.U2NET, .*; save network.state_dict\(\) alone"
    ):
        read_weights(write_zip(tmp_path / "x.pt", whole, {}))


def test_pytorchs_first_format_is_told(tmp_path):
    with tarfile.open(tmp_path / "x.pth", "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    with pytest.raises(CheckpointError, match="PyTorch's first format, a tar archive"):
        read_weights(tmp_path / "x.pth")


@pytest.mark.parametrize(("package", "write"), [("onnx", write_onnx), ("safetensors", write_safetensors)])
def test_a_package_that_is_missing_is_named(tmp_path, tensors, monkeypatch, package, write):
    file = write(tmp_path / "x", tensors)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(WeightsError, match=f"for which a package is missing: pip install {package}"):
        read_weights(file)


def test_integers_in_place_of_weights_are_refused(tmp_path, tensors):
    file = write_safetensors(
        tmp_path / "x", {name: tensor.astype(np.uint8) for name, tensor in tensors.items()}
    )
    with pytest.raises(WeightsError, match="has tensors of the type U8; give the file in floating point"):
        read_weights(file)
