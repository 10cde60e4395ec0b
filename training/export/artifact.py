"""A trained network as an artifact directory: SavedModel, manifest, and the proof that both agree.

In: a run directory. Out: an artifact as `model.contract` describes it, whole or not at all: it is built beside its
place, loaded again, compared with the network it came from, and only then renamed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from model.contract import (
    ACTIVATIONS_FILE,
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
from training.engine.checkpoints import load_trained
from training.export.calibration import (
    Cost,
    Squares,
    alphas,
    largest_activations,
    photos_in,
    squares,
    with_quantised_activations,
)
from training.export.parity_images import parity_images
from training.export.trimming import trim
from training.weights.artifact_weights import load_artifact_weights
from training.weights.batch_norm import with_folded_batch_norm
from training.weights.layout import weight_name
from training.weights.storage import Storage, StoredWeight, restored_by_name

# What the SavedModel may differ by from the network with the weights as they are stored, in any pixel of the alpha:
# less than one of 255 grey levels. A wrong graph does not keep to it.
PARITY_TOLERANCE: Final = 1 / 255
# What storing kernels in 16 bits may move alphas by, in 99.9 % of the pixels. Single pixels in the middle of a steep
# step move further in any rounding: the official U²-Net's by 0.015, its alphas by 0.0001 on average.
FLOAT16_TOLERANCE: Final = 1 / 255
# What 8 bits for weights and activations may move alphas by on the calibration photos, on average.
INT8_TOLERANCE: Final = 0.004


class ExportError(RuntimeError):
    """The artifact was not made; the message says why."""


@dataclass(frozen=True, slots=True)
class Serving:
    """How a network is served: the side of its square in pixels, how photos are laid into it (`model.transforms`),
    the factor on its logits, and, for a cascade of input sizes, the confidence from which on each is enough
    (`model.cascade`).

    Networks hedge: trained by cross-entropy, they give 0.05 where they are not quite sure, and the photo's ground
    shines through its matte. A `sharpness` above 1 leaves 0.5 where it is and moves the rest towards 0 and 1, for
    every picture alike; what it gains is told by MAD, what it costs by GRAD.
    """

    size: int
    geometry: str = "stretch"
    sharpness: float = 1.0
    cascade: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Packing:
    """How weights are stored, and the photos that 8 bits are calibrated on: a folder of some dozens, as people send
    them. With float storage they are optional, and let the service calculate in 8 bits all the same, unless that
    costs too much."""

    storage: Storage = "float16"
    photos: Path | None = None


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and what the rounding of weights, and of activations as well, costs in alpha; None where it
    was not measured, `stored` for float32 and `in_8_bits` without photos."""

    manifest: Manifest
    stored: Cost | None = None
    in_8_bits: Cost | None = None


@dataclass(frozen=True, slots=True)
class Blend:
    """An artifact's weights as a part of the exported ones: `share` of theirs and the rest of the run's own. A run
    that goes on from an artifact and that artifact know different things, and their mean often both."""

    artifact: Path
    share: float


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
    packing: Packing = Packing(),
    serve_size: int | None = None,
    geometry: str | None = None,
    sharpness: float = 1.0,
    cascade: Mapping[int, float] | None = None,
    last: bool = False,
    blend: Blend | None = None,
    overwrite: bool = False,
) -> Exported:
    """Export the averaged network of a run: the best validated one, or the `last`. `serve_size` and `geometry`
    override those of its document. `cascade`: as in `Serving`.

    Raises ExportError, ConfigError, FileNotFoundError, PhotosError, ImageError, or for `blend` ContractError or
    ArtifactWeightsError.
    """
    config = load_config(run_dir / "config.toml")
    network, _ = load_trained(run_dir, config, last=last)
    if blend is not None:
        _blend(network, blend)
    serving = Serving(
        serve_size or config.network.serve_size, geometry or config.network.geometry, sharpness, cascade or {}
    )
    card = Card(config.network.name, version, data, licence, config.digest())
    return export_network(network, serving, artifact, card, packing=packing, overwrite=overwrite)


def export_network(
    network: keras.Model,
    serving: Serving,
    artifact: Path,
    card: Card,
    *,
    packing: Packing = Packing(),
    overwrite: bool = False,
) -> Exported:
    """Write `network` (logits of a normalised image, fused first) as an artifact served as `serving` says.

    Raises ExportError when `artifact` exists and may not be overwritten, when 8 bits lack photos or cost too much, or
    when what was written does not give the same alpha as `network`. PhotosError or ImageError for the photos.
    """
    if artifact.exists() and not overwrite:
        raise ExportError(f"{artifact} exists; choose another place or give --overwrite")
    if packing.storage == "int8" and packing.photos is None:
        raise ExportError("--storage int8 needs --calibrate DIR: photos that the ranges are measured on")
    artifact.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{artifact.name}-", dir=artifact.parent))
    try:
        exported = _build(network, serving, building, card, packing)
        building.chmod(0o755)
        _move_into_place(building, artifact)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return exported


def _build(network: keras.Model, serving: Serving, building: Path, card: Card, packing: Packing) -> Exported:
    module = ServedMatte(network, serving, packing.storage)
    stored = module.as_stored(network)
    _save(module, building / SAVED_MODEL_DIR)
    _check_parity(stored, serving, building / SAVED_MODEL_DIR)
    photos = packing.photos
    seen = list(squares(photos_in(photos), serving.size, serving.geometry)) if photos else []
    judged = seen or [parity_images(serving.size)]
    exact = alphas(with_folded_batch_norm(network), judged, serving.sharpness)
    rounded = None
    if packing.storage != "float32":
        rounded = Cost.between(alphas(with_folded_batch_norm(stored), judged, serving.sharpness), exact)
        _check_cost(packing.storage, rounded)
    in_8_bits = _calibrate(stored, serving, seen, exact, building) if seen else None
    if packing.storage == "int8" and in_8_bits is not None:
        _check_cost("int8", in_8_bits)
    manifest = _manifest(network, serving, building, card)
    write_manifest(building, manifest)
    return Exported(manifest, rounded, in_8_bits)


def _calibrate(
    network: keras.Model,
    serving: Serving,
    seen: Sequence[Squares],
    exact: NDArray[np.float32],
    building: Path,
) -> Cost:
    """What 8 bits cost beside the `exact` alphas of what is `seen`. Writes the ranges unless that is too much."""
    activations = largest_activations(network, seen)
    narrow = with_quantised_activations(network, activations)
    cost = Cost.between(alphas(narrow, seen, serving.sharpness), exact)
    if cost.mean <= INT8_TOLERANCE:
        (building / ACTIVATIONS_FILE).write_text(activations.to_json(), encoding="utf-8")
    return cost


def _check_cost(storage: Storage, cost: Cost) -> None:
    """Raise ExportError for a cost above the bound of `storage`; what is not a number is."""
    if storage == "int8" and not cost.mean <= INT8_TOLERANCE:
        raise ExportError(
            f"8 bits move alphas by {cost.mean:.5f} on average, more than {INT8_TOLERANCE}: export with "
            "--storage float16"
        )
    if storage == "float16" and not cost.percentile <= FLOAT16_TOLERANCE:
        raise ExportError(
            f"16 bits move an alpha in a thousand by {cost.percentile:.5f}, more than {FLOAT16_TOLERANCE:.5f}; "
            "try --storage float32"
        )


def _blend(network: keras.Model, blend: Blend) -> None:
    """Raises ExportError where batch norm's statistics differ: a mean of such weights is no network."""
    other = keras.models.clone_model(network)
    load_artifact_weights(blend.artifact, other)
    pairs = list(zip(network.weights, other.weights, strict=True))
    for own, theirs in pairs:
        if "moving_" in own.path and not np.allclose(own.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-6):
            raise ExportError(
                f"{blend.artifact} has other batch norm statistics than the run, so their mean is no network: train "
                'from it with freeze = "statistics"'
            )
    for own, theirs in pairs:
        own.assign((1 - blend.share) * own + blend.share * theirs)


class ServedMatte(tf.Module):
    """uint8 pixels to alpha, with normalisation and sigmoid inside; kernels kept in `storage`, computed in float32.

    It holds the weights and not the Keras network, whose own signatures would otherwise be saved along.
    """

    def __init__(self, network: keras.Model, serving: Serving, storage: Storage) -> None:
        super().__init__(name="served_matte")
        network = with_folded_batch_norm(network)
        trainable = [StoredWeight(v, storage) for v in network.trainable_variables]
        moving = [StoredWeight(v, storage) for v in network.non_trainable_variables]
        self.trainable = [part for each in trainable for part in each.parts]
        self.moving = [part for each in moving for part in each.parts]

        def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
            logits, _ = network.stateless_call(
                [each.restored() for each in trainable],
                [each.restored() for each in moving],
                normalise(image),
                training=False,
            )
            return {OUTPUT_NAME: tf.sigmoid(serving.sharpness * logits[0])}

        spec = tf.TensorSpec([None, serving.size, serving.size, 3], tf.uint8, name=INPUT_NAME)
        self.serve = tf.function(serve, input_signature=[spec])

    def as_stored(self, network: keras.Model) -> keras.Model:
        """A copy of `network` with the weights as they are stored."""
        weights = restored_by_name([*self.trainable, *self.moving])
        copy = keras.models.clone_model(network)
        for weight in copy.weights:
            weight.assign(weights[weight_name(weight)])
        return copy


def _save(module: ServedMatte, path: Path) -> None:
    tf.saved_model.save(module, str(path), signatures={SIGNATURE: module.serve})
    trim(path)
    # Written at the wall clock's whim and read by nobody: without it equal exports are equal on disk.
    (path / "fingerprint.pb").unlink(missing_ok=True)


def _check_parity(network: keras.Model, serving: Serving, saved_model: Path) -> None:
    images = parity_images(serving.size)
    loaded = tf.saved_model.load(str(saved_model))
    exported = loaded.signatures[SIGNATURE](**{INPUT_NAME: tf.constant(images)})[OUTPUT_NAME].numpy()
    expected = alphas(network, [images], serving.sharpness)
    if exported.shape != expected.shape or not np.isfinite(exported).all():
        raise ExportError(f"the export gives {exported.shape} or values that are not finite")
    worst = float(np.abs(exported - expected).max())
    if worst > PARITY_TOLERANCE:
        raise ExportError(
            f"the export differs from the network by {worst:.5f} in alpha, more than {PARITY_TOLERANCE:.5f}"
        )


def _manifest(network: keras.Model, serving: Serving, artifact: Path, card: Card) -> Manifest:
    return Manifest(
        name=card.name,
        version=card.version,
        input_size=serving.size,
        geometry=serving.geometry,
        sharpness=serving.sharpness,
        cascade={str(size): confident for size, confident in sorted(serving.cascade.items())},
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
