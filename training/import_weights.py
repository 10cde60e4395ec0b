"""Official U²-Net weights into our network: tensor by tensor, by name, with nothing left over.

In: tensors by the official PyTorch names (`stage1.rebnconvin.conv_s1.weight`). Out: the same network in Keras. Our
layers carry the official module names, so the mapping is one table of the last part of each name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from model.contract import Manifest
from model.u2net import u2net
from training.export import Card, Packing, Serving, export_network
from training.pytorch_checkpoint import read_state_dict

# PyTorch's parameter -> Keras's, of a convolution and of a batch normalisation.
CONVOLUTION: Final = {"weight": "kernel", "bias": "bias"}
BATCH_NORM: Final = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
IGNORED: Final = "num_batches_tracked"  # a counter that inference does not read


class WeightsError(ValueError):
    """The tensors are not those of this network; the message names what is missing, left over or misshapen."""


def import_weights(checkpoint: Path, artifact: Path, variant: str, size: int = 320) -> Manifest:
    """Export the official `checkpoint` as an artifact. Kernels stay in float32, so that nothing is lost.

    Raises CheckpointError, WeightsError or ExportError.
    """
    network = u2net(variant)
    assign_official(network, read_state_dict(checkpoint))
    card = Card(
        name=checkpoint.stem.lower().replace("_", "-"),
        version="1",
        data=f"official weights, {checkpoint.name}",
        licence="see https://github.com/xuebinqin/U-2-Net",
    )
    return export_network(network, Serving(size), artifact, card, packing=Packing("float32")).manifest


def assign_official(network: keras.Model, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Set every weight of `network` from its official tensor. Raises WeightsError, then nothing is changed."""
    left = {name for name in tensors if not name.endswith(IGNORED)}
    values = {}
    for layer in network.layers:
        for official, weight in _named_weights(layer):
            if official not in tensors:
                raise WeightsError(f"the checkpoint lacks {official}; is it the other variant?")
            value = _to_keras(tensors[official])
            if value.shape != tuple(weight.shape):
                raise WeightsError(
                    f"{official} is {value.shape}, the network takes {tuple(weight.shape)}; is it the other variant?"
                )
            values[official] = (weight, value)
            left.discard(official)
    if left:
        raise WeightsError(f"the checkpoint has {len(left)} tensors too many: {', '.join(sorted(left)[:5])}")
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
