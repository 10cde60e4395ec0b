"""A split's mattes by an artifact, as it is served or as P3M-10k's own test makes them.

In: an artifact and pairs. Out: samples and their mattes, a few at a time, in steps of 1/255 as a PNG has them.

    served   the artifact's own SavedModel at its own square, by the service's recipe (`model.matting`)
    resize   P3M-10k's RESIZE: the same network at half of the picture's height and width, and no refinement
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from model import matting
from model.cascade import Network, run_cascade, stages
from model.confidence import confidence, has_foreground
from model.contract import INPUT_NAME, OUTPUT_NAME, SAVED_MODEL_DIR, SIGNATURE, Manifest
from model.matting import Matte
from model.subjects import find_subjects
from model.transforms import stretch, to_8_bits
from model.u2net import normalise
from training.data.dataset import Pair
from training.data.findings import FindingKind
from training.data.images import ImageError
from training.data.masks import read_portrait, read_trimap, sizes_differ
from training.evaluation.crops import Sample, crop_sample
from training.evaluation.protocol import RESIZE_SIDE_MAX, RESIZE_STEP, Protocol, Sizing
from training.weights.artifact_weights import rebuild_network

BATCH_SIZE: Final = 8

Image = NDArray[np.uint8]
Alpha = NDArray[np.float32]

# images of any size -> their mattes
MattePredictor = Callable[[Sequence[Image]], list[Matte]]


def predict_mattes(
    artifact: Path, manifest: Manifest, pairs: Sequence[Pair], protocol: Protocol, pool: ThreadPoolExecutor
) -> Iterator[tuple[list[str], list[Sample], list[Matte]]]:
    """Stems, samples and mattes of a batch at a time; pictures without the part that is asked for are left out."""
    if protocol.sizing is Sizing.SERVED:
        make = served_predictor(load_cascade(artifact, manifest), manifest, protocol, pool)
    else:
        make = resize_predictor(load_any_size_network(artifact, manifest))

    def read(pair: Pair) -> Sample | None:
        return crop_sample(read_sample(pair), protocol.crop)

    for i in range(0, len(pairs), BATCH_SIZE):
        group = pairs[i : i + BATCH_SIZE]
        found = [
            (pair.stem, sample) for pair, sample in zip(group, pool.map(read, group), strict=True) if sample
        ]
        stems, samples = [stem for stem, _ in found], [sample for _, sample in found]
        yield stems, samples, make([sample.image for sample in samples])


def served_predictor(
    network: Network, manifest: Manifest, protocol: Protocol, pool: ThreadPoolExecutor
) -> MattePredictor:
    """The service's own recipe, at the artifact's square."""

    def finish(image: Image, views: list[Image], given: list[Alpha]) -> Matte:
        return matting.finish(
            image, views, given, manifest.geometry, sharpness=manifest.sharpness, refined=protocol.refined
        )

    def make(images: Sequence[Image]) -> list[Matte]:
        seen = [
            matting.views(image, manifest.input_size, manifest.geometry, protocol.quality) for image in images
        ]
        flat = [view for views in seen for view in views]
        answers = iter(network(np.stack(flat))) if flat else iter(())
        alphas = [[next(answers) for _ in views] for views in seen]
        return list(pool.map(finish, images, seen, alphas))

    return make


def resize_predictor(network: Network) -> MattePredictor:
    """One picture after the other, each at its own size."""

    def matte(image: Image) -> Matte:
        height, width = image.shape[:2]
        small = stretch(image, resize_side(height), resize_side(width))
        alpha = network(small[None])[0]
        full = to_8_bits(stretch(alpha, height, width))
        return Matte(full, confidence(alpha), has_foreground(alpha), find_subjects(to_8_bits(alpha)).count)

    return lambda images: [matte(image) for image in images]


def resize_side(side: int) -> int:
    """The side in pixels that RESIZE gives a side of the picture; never less than one step."""
    half = side // 2
    return min(RESIZE_SIDE_MAX, max(RESIZE_STEP, half - half % RESIZE_STEP))


def load_cascade(artifact: Path, manifest: Manifest) -> Network:
    """The network as a function of arrays, in float32, at all input sizes of its cascade."""
    sizes = [stage.size for stage in stages(manifest)]
    networks = {
        size: load_network(artifact)
        if size == manifest.input_size
        else load_any_size_network(artifact, manifest, size)
        for size in sizes
    }
    return partial(run_cascade, network=lambda images: networks[images.shape[1]](images), manifest=manifest)


def load_network(artifact: Path) -> Network:
    """The SavedModel as a function of arrays, in float32."""
    loaded = tf.saved_model.load(str(artifact / SAVED_MODEL_DIR))
    serve = loaded.signatures[SIGNATURE]

    def network(images: Image) -> Alpha:
        alpha: Alpha = serve(**{INPUT_NAME: tf.constant(images)})[OUTPUT_NAME].numpy()
        return alpha[:, :, :, 0]

    return network


def load_any_size_network(artifact: Path, manifest: Manifest, size: int | None = None) -> Network:
    """The same network for squares of `size` pixels, or for squares and oblongs of any size that 32 divides."""
    model = rebuild_network(artifact, size)

    def alphas(images: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(manifest.sharpness * model(normalise(images), training=False)[0])

    # Compiled for one size alone: Keras's upsampling wants sizes that it knows, and almost every picture has its own.
    run = alphas if size is None else tf.function(alphas)
    return lambda images: np.asarray(run(tf.constant(images)))[:, :, :, 0]


def read_sample(pair: Pair) -> Sample:
    """Raises ImageError, also where the sizes of photo, mask and trimap differ."""
    image, alpha = read_portrait(pair.image, pair.alpha)
    trimap = read_trimap(pair.trimap) if pair.trimap else None
    if pair.trimap and trimap is not None and trimap.shape != alpha.shape:
        raise ImageError(
            pair.trimap, sizes_differ("trimap", trimap.shape, alpha.shape), FindingKind.SIZE_MISMATCH
        )
    return Sample(image, alpha.astype(np.float32) / np.float32(255), trimap)
