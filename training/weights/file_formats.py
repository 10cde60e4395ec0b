"""A file of weights, as people really have them, to U²-Net's tensors. What it is, its content tells, not its name.

    PyTorch       a state dict, or what wraps one (pytorch_checkpoint)
    safetensors   the same tensors by the same names
    ONNX          an export of the network, its batch norm folded or not (onnx_weights)

Of anything else it is said what it is and what to do. Nothing in a file is run.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from training.weights.official import Array, Weights, WeightsError, with_official_names
from training.weights.onnx_weights import read_onnx
from training.weights.pytorch_checkpoint import TAR_MARK, ZIP_MARK, read_state_dict

HEAD: Final = 4096  # bytes of a file that tell what it is
PICKLE_MARK: Final = b"\x80"
ONNX_MARK: Final = b"\x08"  # protobuf's tag of the first field, the version of the format
KINDS: Final = "PyTorch (.pth, .pt), safetensors and ONNX files are read"

_LFS: Final = b"version https://git-lfs"
_PAGE: Final = re.compile(rb"<(!doctype|html|head|body|\?xml)", re.IGNORECASE)
_COMPRESSED: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf\x27\x1c", b"Rar!", b"\x28\xb5\x2f\xfd")
_KERAS: Final = (
    "is a Keras file, whose weights are in another layout; import the PyTorch or ONNX file of the network, or, if it "
    "was trained here, use `python -m training export RUN_DIR ARTIFACT_DIR`"
)
_JSON: Final = re.compile(r'\{|\[\s*[\[{"\d\]]')
_SHOWN: Final = 60  # characters of a text that a message shows

# What only the first bytes tell, in the order in which it is asked.
_SENTENCES: Final[Mapping[bytes, str]] = {
    b"\x89HDF\r\n\x1a\n": _KERAS,
    b"\x93NUMPY": "is a NumPy array, not a network's weights; " + KINDS,
    **dict.fromkeys(_COMPRESSED, "is a compressed archive; unpack it and give the file of weights inside"),
}


def read_weights(path: Path) -> Weights:
    """The tensors of the file `path`. Raises WeightsError, CheckpointError or FileNotFoundError."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        read = _reader(path)
        return read(path)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error.__cause__


def _reader(path: Path) -> Callable[[Path], Weights]:
    """What reads a file of this kind. Raises WeightsError that says which kind it is, if none does."""
    if path.is_dir():
        raise WeightsError(_directory(path))
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        raise WeightsError("is empty; the download failed: get it again")
    if head.startswith(ZIP_MARK):
        _check_zip(path)
        return _read_pytorch
    if head.startswith(PICKLE_MARK) or head[TAR_MARK[0] :].startswith(TAR_MARK[1]):
        return _read_pytorch
    if _starts_safetensors(head):
        return _read_safetensors
    for mark, sentence in _SENTENCES.items():
        if head.startswith(mark):
            raise WeightsError(sentence)
    if head[4:8] == b"TFL3":
        raise WeightsError(f"is a TensorFlow Lite model, which is not read; {KINDS}")
    if (text := _text(head)) is not None:
        raise WeightsError(_text_sentence(text))
    if head.startswith(ONNX_MARK):
        return read_onnx
    raise WeightsError(f"is of no kind that is known (it begins with {head[:4].hex(' ')}); {KINDS}")


def _read_pytorch(path: Path) -> Weights:
    return Weights(with_official_names(read_state_dict(path)))


def _starts_safetensors(head: bytes) -> bool:
    """The length of a JSON object in 8 bytes, and its brace: so no text, which has no zero bytes."""
    return head[8:9] == b"{" and head[5:8] == b"\0\0\0"


def _read_safetensors(path: Path) -> Weights:
    try:
        from safetensors import SafetensorError, deserialize
    except ImportError:
        raise WeightsError(
            "is a safetensors file, for which a package is missing: pip install safetensors"
        ) from None
    try:
        found = deserialize(path.read_bytes())
        tensors = {
            name: _array(str(each["dtype"]), bytes(each["data"])).reshape(each["shape"])
            for name, each in found
        }
    except SafetensorError as error:
        raise WeightsError(
            f"is a safetensors file, but damaged or cut short ({error}): get it again"
        ) from error
    return Weights(with_official_names(tensors))


def _array(kind: str, data: bytes) -> Array:
    if kind == "BF16":  # NumPy has none; its bits are the upper half of a float32's
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    types = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}
    if kind not in types:
        raise WeightsError(f"has tensors of the type {kind}; give the file in floating point")
    return np.frombuffer(data, types[kind])


def _check_zip(path: Path) -> None:
    """Raises WeightsError for a zip that PyTorch's `save` did not write; one that is damaged is read_state_dict's."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise WeightsError(
            f"begins like a PyTorch file, but is damaged or cut short ({error}): get it again"
        ) from error
    except (OSError, ValueError, NotImplementedError):
        return
    if "model.weights.h5" in names:
        raise WeightsError(_KERAS)
    if any("/code/" in name for name in names):
        raise WeightsError(
            "is a TorchScript program, not a state dict; in PyTorch: "
            "torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')"
        )
    if not any(name.endswith("/data.pkl") for name in names):
        raise WeightsError(
            f"is a zip archive of {', '.join(names[:3])}; unpack it and give the file of weights inside"
        )


def _directory(path: Path) -> str:
    if (path / "manifest.json").is_file():
        return "is an artifact already: serve it (MATTE_MODEL_DIR), or train on from it (train --init-from)"
    if (path / "saved_model.pb").is_file():
        return f"is a TensorFlow SavedModel, which is not read; {KINDS}"
    return "is a directory; give the file of weights in it"


def _text(head: bytes) -> str | None:
    """The beginning of a text; None of anything else."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # not just a character that the head cuts
            return None
        text = head[: error.start].decode("utf-8-sig")
    return text if all(c.isprintable() or c.isspace() for c in text) else None


def _text_sentence(text: str) -> str:
    text = text.strip()
    shown = " ".join(text.split())[:_SHOWN]
    if text.encode().startswith(_LFS):
        size = re.search(r"^size (\d+)$", text, re.MULTILINE)
        held = f" for {int(size[1]) / 1e6:.1f} MB" if size else ""
        return f"is a Git LFS pointer{held}, not the file itself; in its repository: git lfs pull"
    if _PAGE.match(text.encode()):
        return "is a web page, not weights: the site answered the download with it; get the file in a browser"
    if _JSON.match(text):
        return f"is JSON, a configuration or a site's answer, and no weights: {shown}"
    return f"is a text, not weights: {shown}"
