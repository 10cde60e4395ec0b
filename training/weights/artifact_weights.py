"""The weights of an artifact, read again: to train on from them, to evaluate at any size, to export as ONNX.

In: an artifact directory (any that `training.export.artifact` wrote). Out: its network rebuilt, or its weights in a
network of the same shape. Kernels that were stored in 16 or 8 bits come back as they were stored.
"""

from __future__ import annotations

import re
from pathlib import Path

import keras
import tensorflow as tf

from model.contract import SAVED_MODEL_DIR, Manifest, verify
from model.u2net import u2net
from training.weights.layout import weight_name
from training.weights.storage import restored_by_name


class ArtifactWeightsError(ValueError):
    """The artifact's weights do not fit the network; the message names the first that does not."""


def rebuild_network(artifact: Path, input_size: int | None = None) -> keras.Model:
    """The network of an artifact with its weights, for inputs of `input_size` pixels a side or of any size that 32
    divides.

    Raises ContractError, or ArtifactWeightsError where the manifest names an architecture that is not ours.
    """
    architecture = verify(artifact).architecture
    named = re.fullmatch(r"u2net_(full|lite)(?:_x([0-9.]+))?", architecture)
    if named is None:
        raise ArtifactWeightsError(f"{artifact} is {architecture}, which is not a U²-Net of this package")
    network = u2net(named[1], width=float(named[2] or 1), input_size=input_size)
    load_artifact_weights(artifact, network)
    return network


def load_artifact_weights(artifact: Path, network: keras.Model) -> Manifest:
    """Set every weight of `network` by name. Raises ContractError or ArtifactWeightsError, and changes nothing
    then."""
    manifest = verify(artifact)
    loaded = tf.saved_model.load(str(artifact / SAVED_MODEL_DIR))
    stored = restored_by_name([*loaded.trainable, *loaded.moving])
    wanted = {weight_name(weight): weight for weight in network.weights}
    if stored.keys() != wanted.keys():
        odd = sorted(stored.keys() ^ wanted.keys())[0]
        raise ArtifactWeightsError(
            f"{artifact} is {manifest.architecture}, not {network.name}: {odd} is only in one"
        )
    for name, weight in wanted.items():
        if stored[name].shape != weight.shape:
            raise ArtifactWeightsError(
                f"{artifact} is {manifest.architecture}, not {network.name}: "
                f"{name} is {tuple(stored[name].shape)}, the network takes {tuple(weight.shape)}"
            )
    for name, weight in wanted.items():
        weight.assign(tf.cast(stored[name], weight.dtype))
    return manifest
