"""U²-Net's weights from elsewhere as an artifact: tensor by tensor, by name, with nothing left over.

In: a file of weights (`training.weights.file_formats`), by the official PyTorch names
(`stage1.rebnconvin.conv_s1.weight`). Out: the same network in Keras. Our layers carry the official module names, so
the mapping is one table of the last part of each name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from model.contract import file_sha256
from model.u2net import BATCH_NORM_EPSILON, u2net
from training.export.artifact import Card, Exported, ExportError, Packing, Serving, export_network
from training.export.calibration import photos_in, squares
from training.weights.batch_norm import MEASURED, STATISTICS, UNMEASURED, measure_statistics
from training.weights.file_formats import read_weights
from training.weights.official import COUNTER, Weights, WeightsError, detect_architecture, unfold_batch_norm

SIZE: Final = 320  # the side that the official networks were trained at
GEOMETRY: Final = "stretch"
LICENCE: Final = "that of the imported weights; the official ones of U-2-Net are Apache-2.0, see NOTICE"
NO_CARD: Final = Card("", "", "", "")
AS_THEY_ARE: Final = Packing("float32")

# PyTorch's parameter -> Keras's, of a convolution and of a batch normalisation.
CONVOLUTION: Final = {"weight": "kernel", "bias": "bias"}
BATCH_NORM: Final = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def import_weights(
    file: Path,
    artifact: Path,
    *,
    variant: str | None = None,
    size: int | None = None,
    packing: Packing = AS_THEY_ARE,
    card: Card | None = None,
    overwrite: bool = False,
) -> Exported:
    """Export the weights in `file` as an artifact, by default in float32, so that nothing is lost.

    `variant` is only compared with what the file holds. `size` is by default the file's own, else SIZE. On
    `packing.photos` batch norm's statistics are measured, where the file has none (`training.weights.batch_norm`),
    and the ranges of 8 bits. Of `card` only what is given counts; an artifact in a folder of models, `<name>/<n>`, is
    called so, another after its file.

    Raises WeightsError, CheckpointError, PhotosError, ImageError, ExportError or FileNotFoundError.
    """
    if artifact.exists() and not overwrite:  # said before minutes of measuring
        raise ExportError(f"{artifact} exists; choose another place or give --overwrite")
    weights = read_weights(file)
    pictures = photos_in(packing.photos) if packing.photos and weights.folded else []
    serving = Serving(size or weights.size or SIZE, weights.geometry or GEOMETRY, weights.sharpness)
    try:
        network = _network(weights, variant)
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from None
    if pictures:
        measure_statistics(network, squares(pictures, serving.size, serving.geometry))
    card = _card(file, artifact, weights, card or NO_CARD, len(pictures))
    return export_network(network, serving, artifact, card, packing=packing, overwrite=overwrite)


def _network(weights: Weights, variant: str | None) -> keras.Model:
    found = detect_architecture(weights.tensors)
    if variant is not None and variant != found.variant:
        raise WeightsError(f"it holds the variant {found}, not {variant}: leave --variant out")
    network = u2net(found.variant, width=found.width)
    tensors = unfold_batch_norm(weights.tensors, BATCH_NORM_EPSILON) if weights.folded else weights.tensors
    assign_official(network, tensors)
    return network


def _card(file: Path, artifact: Path, weights: Weights, card: Card, photos: int) -> Card:
    """`card`, completed by what file and place tell; `photos`: on how many the statistics were measured."""
    data_text = STATISTICS.sub("", weights.data) if weights.folded else weights.data
    data = card.data or "; ".join(
        filter(None, [data_text, f"imported from {file.name} (SHA-256 {file_sha256(file)[:16]}…)"])
    )
    if weights.folded:
        data += f"; {MEASURED.format(photos) if photos else UNMEASURED}"
    name, version = _label(file, artifact)
    return Card(
        name=card.name or name,
        version=card.version or version,
        data=data,
        licence=card.licence or weights.licence or LICENCE,
    )


def _label(file: Path, artifact: Path) -> tuple[str, str]:
    """Name and version by the place, where it is that of a version in a folder of models, else by the file."""
    place = artifact.absolute()
    if re.fullmatch("[0-9]+", place.name) and _plain(place.parent.name) == place.parent.name:
        return place.parent.name, place.name
    return _plain(file.stem) or "u2net", "1"


def _plain(name: str) -> str:
    """As a manifest may have it: of "U2Net (1)" u2net-1."""
    return re.sub(r"[^a-z0-9._]+", "-", name.lower()).strip("-._")[:64]


def assign_official(network: keras.Model, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Set every weight of `network` from its official tensor. Raises WeightsError, then nothing is changed."""
    left = {name for name in tensors if not name.endswith(COUNTER)}
    values = {}
    for layer in network.layers:
        for official, weight in _named_weights(layer):
            if official not in tensors:
                raise WeightsError(f"it lacks {official}: damaged, or another network than U²-Net")
            value = _to_keras(tensors[official])
            if value.shape != tuple(weight.shape):
                raise WeightsError(
                    f"{official} is {value.shape}, U²-Net takes {tuple(weight.shape)}: another network"
                )
            values[official] = (weight, value)
            left.discard(official)
    if left:
        raise WeightsError(f"it has {len(left)} tensors too many: {', '.join(sorted(left)[:5])}")
    for official, (_, value) in values.items():
        if not np.isfinite(value).all():
            raise WeightsError(f"{official} has values that are not finite: damaged")
    for weight, value in values.values():
        weight.assign(value)


def _named_weights(layer: keras.Layer) -> list[tuple[str, keras.Variable]]:
    """`(official name, weight)` of a layer; none for layers without weights."""
    if isinstance(layer, keras.layers.BatchNormalization):
        table = BATCH_NORM
    elif isinstance(layer, keras.layers.Conv2D):
        table = CONVOLUTION
    else:
        return []
    return [(f"{layer.name}.{theirs}", getattr(layer, ours)) for theirs, ours in table.items()]


def _to_keras(tensor: NDArray[Any]) -> NDArray[np.float32]:
    """A kernel `[out,in,h,w]` becomes `[h,w,in,out]`; vectors stay."""
    value = tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor
    return np.ascontiguousarray(value, np.float32)
