"""A run's first weights from an artifact, so that training goes on where another run ended.

In: an artifact directory (any that `training.export` wrote) and a network of the same shape. Out: the network
holds the artifact's weights. Kernels that were stored in 16 bits come back as they were stored.
"""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

from model.contract import SAVED_MODEL_DIR, Manifest, verify


class InitialWeightsError(ValueError):
    """The artifact's weights do not fit the network; the message names the first that does not."""


def load_artifact_weights(artifact: Path, network: keras.Model) -> Manifest:
    """Set every weight of `network` by name. Raises ContractError or InitialWeightsError; then nothing is changed."""
    manifest = verify(artifact)
    loaded = tf.saved_model.load(str(artifact / SAVED_MODEL_DIR))
    stored = {v.name.split(":")[0]: v for v in (*loaded.trainable, *loaded.moving)}
    wanted = {stored_name(weight): weight for weight in network.weights}
    if stored.keys() != wanted.keys():
        odd = sorted(stored.keys() ^ wanted.keys())[0]
        raise InitialWeightsError(
            f"{artifact} is {manifest.architecture}, not {network.name}: {odd} is only in one"
        )
    for name, weight in wanted.items():
        if stored[name].shape != weight.shape:
            raise InitialWeightsError(
                f"{artifact} is {manifest.architecture}, not {network.name}: "
                f"{name} is {tuple(stored[name].shape)}, the network takes {tuple(weight.shape)}"
            )
    for name, weight in wanted.items():
        weight.assign(tf.cast(stored[name], weight.dtype))
    return manifest


def stored_name(weight: keras.Variable) -> str:
    """A weight's name in an artifact: `stage1.rebnconvin.conv_s1.kernel`."""
    return str(weight.path).replace("/", ".")
