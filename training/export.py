"""A trained network as an artifact directory: SavedModel, manifest, and the proof that both agree.

In: a run directory. Out: an artifact as `model.contract` describes it, whole or not at all: it is built beside its
place, loaded again, compared with the network it came from, and only then renamed.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from model.contract import (
    INPUT_NAME,
    OUTPUT_NAME,
    SAVED_MODEL_DIR,
    SIGNATURE,
    Manifest,
    file_digests,
    write_manifest,
)
from model.u2net import normalise
from training.config import load_config
from training.folding import with_folded_batch_norm
from training.layout import weight_name
from training.run_dir import load_trained

# What the export may change in any pixel of the alpha: less than one of 255 grey levels. Storing the kernels in
# 16 bits stays well below it; a wrong graph does not.
PARITY_TOLERANCE: Final = 1 / 255

Storage = Literal["float16", "float32"]


class ExportError(RuntimeError):
    """The artifact was not made; the message says why."""


@dataclass(frozen=True, slots=True)
class Serving:
    """How a network is served: the side of its square in pixels, how photos are laid into it (`model.transforms`),
    and the factor on its logits.

    Networks hedge: trained by cross-entropy, they give 0.05 where they are not quite sure, and the photo's ground
    shines through its matte. A `sharpness` above 1 leaves 0.5 where it is and moves the rest towards 0 and 1, for
    every picture alike; what it gains is told by MAD, what it costs by GRAD.
    """

    size: int
    geometry: str = "stretch"
    sharpness: float = 1.0


@dataclass(frozen=True, slots=True)
class Card:
    """What a manifest says of a model beside the facts that the export finds itself."""

    name: str
    version: str
    data: str
    licence: str
    training_config_sha256: str = ""


def export_run(
    run_dir: Path,
    artifact: Path,
    *,
    version: str = "1",
    data: str = "",
    licence: str = "",
    storage: Storage = "float16",
    serve_size: int | None = None,
    geometry: str | None = None,
    sharpness: float = 1.0,
    overwrite: bool = False,
) -> Manifest:
    """Export the best averaged network of a run. `serve_size` and `geometry` override those of its document.

    Raises ExportError, ConfigError or FileNotFoundError.
    """
    config = load_config(run_dir / "config.toml")
    network, _ = load_trained(run_dir, config)
    serving = Serving(serve_size or config.network.serve_size, geometry or config.network.geometry, sharpness)
    card = Card(config.network.name, version, data, licence, config.digest())
    return export_network(network, serving, artifact, card, storage=storage, overwrite=overwrite)


def export_network(
    network: keras.Model,
    serving: Serving,
    artifact: Path,
    card: Card,
    *,
    storage: Storage = "float16",
    overwrite: bool = False,
) -> Manifest:
    """Write `network` (logits of a normalised image, fused first) as an artifact served as `serving` says.

    Raises ExportError when `artifact` exists and may not be overwritten, or when what was written does not
    give the same alpha as `network`.
    """
    if artifact.exists() and not overwrite:
        raise ExportError(f"{artifact} exists; choose another place or give --overwrite")
    artifact.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{artifact.name}-", dir=artifact.parent))
    try:
        _save(network, serving, building / SAVED_MODEL_DIR, storage)
        _check_parity(network, serving, building / SAVED_MODEL_DIR)
        manifest = _manifest(network, serving, building, card)
        write_manifest(building, manifest)
        building.chmod(0o755)
        _move_into_place(building, artifact)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return manifest


class ServedMatte(tf.Module):
    """uint8 pixels to alpha, with normalisation and sigmoid inside; kernels kept in `storage`, computed in float32.

    It holds the weights and not the Keras network, whose own signatures would otherwise be saved along.
    """

    def __init__(self, network: keras.Model, serving: Serving, storage: Storage) -> None:
        super().__init__(name="served_matte")
        network = with_folded_batch_norm(network)
        self.trainable = [_variable(v, storage) for v in network.trainable_variables]
        self.moving = [_variable(v, storage) for v in network.non_trainable_variables]

        def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
            trainable = [tf.cast(v, tf.float32) for v in self.trainable]
            moving = [tf.cast(v, tf.float32) for v in self.moving]
            logits, _ = network.stateless_call(trainable, moving, normalise(image), training=False)
            return {OUTPUT_NAME: tf.sigmoid(serving.sharpness * logits[0])}

        spec = tf.TensorSpec([None, serving.size, serving.size, 3], tf.uint8, name=INPUT_NAME)
        self.serve = tf.function(serve, input_signature=[spec])


def _variable(weight: keras.Variable, storage: Storage) -> tf.Variable:
    """Only kernels are stored in 16 bits: batch norm's variances may leave their range, and weigh nothing."""
    dtype = storage if weight.path.endswith("kernel") else "float32"
    return tf.Variable(tf.cast(weight.value, dtype), name=weight_name(weight), trainable=False)


def _save(network: keras.Model, serving: Serving, path: Path, storage: Storage) -> None:
    module = ServedMatte(network, serving, storage)
    tf.saved_model.save(module, str(path), signatures={SIGNATURE: module.serve})
    # Written at the wall clock's whim and read by nobody: without it equal exports are equal on disk.
    (path / "fingerprint.pb").unlink(missing_ok=True)


def _check_parity(network: keras.Model, serving: Serving, saved_model: Path) -> None:
    images = _check_images(serving.size)
    loaded = tf.saved_model.load(str(saved_model))
    exported = loaded.signatures[SIGNATURE](**{INPUT_NAME: tf.constant(images)})[OUTPUT_NAME].numpy()
    logits = network(normalise(images), training=False)[0]
    expected = tf.sigmoid(serving.sharpness * logits).numpy()
    if exported.shape != expected.shape or not np.isfinite(exported).all():
        raise ExportError(f"the export gives {exported.shape} or values that are not finite")
    worst = float(np.abs(exported - expected).max())
    if worst > PARITY_TOLERANCE:
        raise ExportError(
            f"the export differs from the network by {worst:.5f} in alpha, more than "
            f"{PARITY_TOLERANCE:.5f}; try --storage float32"
        )


def _check_images(size: int) -> NDArray[np.uint8]:
    """Noise, and a bright disc on a dark ramp: `[2,size,size,3]`."""
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    y, x = np.mgrid[0:size, 0:size] / size
    disc = np.where((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.1, 220, 90 * x)
    return np.stack([noise, np.repeat(disc[:, :, None], 3, axis=2).astype(np.uint8)])


def _manifest(network: keras.Model, serving: Serving, artifact: Path, card: Card) -> Manifest:
    return Manifest(
        name=card.name,
        version=card.version,
        input_size=serving.size,
        geometry=serving.geometry,
        sharpness=serving.sharpness,
        files=file_digests(artifact),
        architecture=network.name,
        parameters=network.count_params(),
        training_config_sha256=card.training_config_sha256,
        data=card.data,
        licence=card.licence,
    )


def _move_into_place(building: Path, artifact: Path) -> None:
    if artifact.exists():
        old = artifact.with_name(f".{artifact.name}-old")
        shutil.rmtree(old, ignore_errors=True)
        artifact.rename(old)
        building.rename(artifact)
        shutil.rmtree(old)
    else:
        building.rename(artifact)
