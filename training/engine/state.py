"""What a run is made of between two steps, in memory: weights, their moving average, optimiser, step."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import keras
import tensorflow as tf

from model.contract import Manifest
from model.u2net import u2net
from training.config import NetworkConfig, TrainConfig
from training.weights.artifact_weights import load_artifact_weights
from training.weights.batch_norm import with_folded_batch_norm, with_fused_batch_norm
from training.weights.layout import Layout, weight_name

LOSS_SCALE_FIRST: Final = 2.0**15  # of float16; `optimizer` halves and doubles it

ENCODER_STAGES = ("stage1.", "stage2.", "stage3.", "stage4.", "stage5.", "stage6.")


class TrainState:
    """The run as vectors (`training.weights.layout`); build it inside the strategy's scope, which then copies each of
    them to every device.

    weights, average, first_moment, second_moment   float32 `[P]`, what is trained
    moving, moving_average                           float32 `[Q]`, batch norm's statistics, and what is frozen
    step, updates                                    int64: samples seen in batches, and updates made (fewer where
                                                     float16 overflowed)
    loss_scale, good_steps                           of float16; 1 and unused otherwise
    """

    def __init__(self, config: TrainConfig) -> None:
        self.network = trainable_network(config)
        self.layout = Layout(self.network.trainable_variables)
        self.moving_layout = Layout(self.network.non_trainable_variables)
        self.weights = _vector(self.layout.join(self.network.trainable_variables), "weights")
        self.average = _vector(self.weights.numpy(), "average")
        self.first_moment = _vector(tf.zeros([self.layout.size]), "first_moment")
        self.second_moment = _vector(tf.zeros([self.layout.size]), "second_moment")
        self.moving = _vector(self.moving_layout.join(self.network.non_trainable_variables), "moving")
        self.moving_average = _vector(self.moving.numpy(), "moving_average")
        self.step = _vector(tf.constant(0, tf.int64), "step")
        self.updates = _vector(tf.constant(0, tf.int64), "updates")
        first_scale = LOSS_SCALE_FIRST if config.precision == "float16" else 1.0
        self.loss_scale = _vector(tf.constant(first_scale), "loss_scale")
        self.good_steps = _vector(tf.constant(0, tf.int64), "good_steps")
        self._averaged = build_network(config.network)

    @property
    def vectors(self) -> dict[str, tf.Variable]:
        """Everything that a resumed run needs, by name."""
        return {name: each for name, each in vars(self).items() if isinstance(each, tf.Variable)}

    def load_artifact(self, artifact: Path) -> Manifest:
        """Set the weights to an artifact's. Raises ContractError or ArtifactWeightsError."""
        manifest = load_artifact_weights(artifact, self.network)
        for latest, average, layout, values in (
            (self.weights, self.average, self.layout, self.network.trainable_variables),
            (self.moving, self.moving_average, self.moving_layout, self.network.non_trainable_variables),
        ):
            latest.assign(layout.join(values))
            average.assign(latest.numpy())
        return manifest

    def averaged_network(self) -> keras.Model:
        """The network to validate and to export: always the same object, now with the average's weights."""
        values = self.layout.by_name(self.average.numpy())
        values |= self.moving_layout.by_name(self.moving_average.numpy())
        for weight in self._averaged.weights:
            weight.assign(values[weight_name(weight)])
        return self._averaged

    def layout_digest(self) -> str:
        return self.layout.digest() + self.moving_layout.digest()


def _vector(value: tf.Tensor, name: str) -> tf.Variable:
    return tf.Variable(value, trainable=False, name=name)


def build_network(config: NetworkConfig) -> keras.Model:
    return u2net(config.variant, width=config.width)


def trainable_network(config: TrainConfig) -> keras.Model:
    """The network as a run trains it, less what `config.freeze` keeps.

    Batch norm whose statistics are held is an affine map and is folded into the convolutions: first weights that have
    seen millions of photos lose less so, since the statistics of a few composited ones do not replace theirs.
    """
    network = build_network(config.network)
    held = config.freeze.endswith("statistics")
    network = with_folded_batch_norm(network) if held else with_fused_batch_norm(network)
    for layer in network.layers:
        if config.freeze.startswith("encoder") and layer.name.startswith(ENCODER_STAGES):
            layer.trainable = False
    return network
