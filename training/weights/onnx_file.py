"""An ONNX file: its graph, its constants, and what it says of itself.

Weights may lie beside the file, as large exports have them: then in one file in the same folder, which is named
without a path. Nothing else is opened, and nothing is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from model.contract import GEOMETRIES
from training.weights.official import Array, WeightsError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto

# Of the metadata that `to_onnx` writes.
GEOMETRY_KEY: Final = "u2matte.geometry"
DATA_KEY: Final = "u2matte.data"
LICENCE_KEY: Final = "u2matte.licence"

_MULTIPLE: Final = 32  # of a size that U²-Net takes
_ENDS_SHOWN: Final = 10  # inputs or outputs


def load_onnx(path: Path) -> ModelProto:
    """Without weights that lie elsewhere. Raises WeightsError."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise WeightsError(
            "looks like an ONNX file, for which a package is missing: pip install onnx"
        ) from None
    try:
        return onnx.load_model_from_string(path.read_bytes())
    except DecodeError as error:
        size = path.stat().st_size
        raise WeightsError(
            f"begins like an ONNX file, but is damaged or cut short at {size:,} bytes: get it again"
        ) from error


def constants_of(graph: GraphProto, folder: Path) -> dict[str, Array]:
    """Arrays by name. Raises WeightsError for values that are not there."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            attributes = {each.name: each.t for each in node.attribute}
            if "value" in attributes:
                stored[node.output[0]] = attributes["value"]
    return {name: _array(name, tensor, folder) for name, tensor in stored.items()}


def _array(name: str, tensor: TensorProto, folder: Path) -> Array:
    from onnx import TensorProto, numpy_helper

    if tensor.data_location == TensorProto.EXTERNAL:
        values = _external(tensor, folder)
        tensor = TensorProto(dims=tensor.dims, data_type=tensor.data_type, raw_data=values)
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise WeightsError(f"is a damaged ONNX file: the tensor {name!r} cannot be read ({error})") from error


def _external(tensor: TensorProto, folder: Path) -> bytes:
    """The bytes of a tensor in a file beside, and of no file elsewhere: a path could lead anywhere, a link too."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    file = folder / location
    if not location or Path(location).name != location or file.is_symlink():
        raise WeightsError(
            f"keeps weights in {location!r}, which is not a plain file beside it, and is not followed; "
            "save it as one file: onnx.save(onnx.load(FILE), 'one.onnx')"
        )
    if not file.is_file():
        raise WeightsError(f"keeps its weights in the file {location}, which must lie beside it and does not")
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", file.stat().st_size - offset))
    except ValueError:
        offset = length = -1
    if min(offset, length) < 0 or offset + length > file.stat().st_size:
        raise WeightsError(f"keeps weights in {location}, which is damaged or cut short: get it again")
    with file.open("rb") as opened:
        opened.seek(offset)
        return opened.read(length)


def describe_ends(graph: GraphProto) -> str:
    """Its inputs and outputs in words, by which a person knows a network."""
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [each for each in graph.input if each.name not in constants]

    def described(values: Any) -> str:
        return ", ".join(f"{each.name} {_shape(each)}" for each in list(values)[:_ENDS_SHOWN]) or "none"

    return f"inputs: {described(inputs)}; outputs: {described(graph.output)}"


def _shape(value: Any) -> str:
    dims = value.type.tensor_type.shape.dim
    return f"[{', '.join(str(dim.dim_value or dim.dim_param or '?') for dim in dims)}]"


def input_side(graph: GraphProto) -> int | None:
    """The side of the square that the file is for, if its input, or else its first output, has a fixed one."""
    constants = {tensor.name for tensor in graph.initializer}
    ends = [*(each for each in graph.input if each.name not in constants), *graph.output[:1]]
    for each in ends:
        dims = [int(dim.dim_value) for dim in each.type.tensor_type.shape.dim]
        if len(dims) == 4:
            height, width = dims[2:] if dims[1] in (1, 3) else dims[1:3]
            if height == width and height and height % _MULTIPLE == 0:
                return height
    return None


def properties_of(model: ModelProto) -> dict[str, str]:
    """The metadata; a geometry that is none is left out."""
    entries = {entry.key: entry.value for entry in model.metadata_props}
    if entries.get(GEOMETRY_KEY) not in GEOMETRIES:
        entries.pop(GEOMETRY_KEY, None)
    return entries
