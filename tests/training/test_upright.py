"""A data set whose photos are stored turned, as phones store them, is everywhere the same as one stored upright."""

import functools

import numpy as np
import PIL.Image
import pytest
from rich.console import Console

from tests.training.data.test_images import STORED, exif_of
from tests.training.p3m_folders import write_backgrounds, write_data_set
from tests.training.small_network import small_network
from training.config import AugmentConfig
from training.data.cache import build_cache, read_cached
from training.data.dataset import Sources, list_backgrounds, list_pairs
from training.data.input_pipeline import training_batches
from training.engine.validation import ValidationSet
from training.evaluation.predict import read_sample
from training.inspection.contact_sheet import contact_sheet
from training.inspection.inspect import inspect

SILENT = Console(quiet=True)


def data_set(root, orientation):
    """Photos as PNG, which loses nothing; `orientation` as EXIF counts, None: upright and without EXIF."""
    write_data_set(root / "p3m", train=2, validation=1)
    write_backgrounds(root / "backgrounds", 1)
    for path in [*root.rglob("*image/*.jpg"), *(root / "backgrounds").glob("*.jpg")]:
        pixels = np.asarray(PIL.Image.open(path))
        options = {} if orientation is None else {"exif": exif_of(orientation)}
        stored = np.ascontiguousarray(STORED[orientation or 1](pixels))
        PIL.Image.fromarray(stored).save(path.with_suffix(".png"), **options)
        path.unlink()
    return root


def sources_of(root):
    return list_pairs(root / "p3m", "train").pairs, list_backgrounds(root / "backgrounds")


def trained_on(root):
    settings = AugmentConfig(background_share=0.5)
    batches = training_batches(
        Sources.of(*sources_of(root)), settings, size=64, batch_size=2, seed=1, first_step=0, last_step=4
    )
    return np.concatenate([np.concatenate([image, alpha * 255], axis=3) for image, alpha, _ in batches])


def cached(root):
    sources = build_cache(*sources_of(root), root / "cache", 500, SILENT)
    files = [*((path, 4) for path in sources.images), *((path, 3) for path in sources.backgrounds)]
    return np.concatenate([read_cached(str(path), channels).numpy().ravel() for path, channels in files])


def validated_on(root):
    pairs = list_pairs(root / "p3m", "P3M-500-NP").pairs
    return ValidationSet(small_network(), pairs, 64, "limited").sheet()[:, :128]


def evaluated_on(root):
    sample = read_sample(*list_pairs(root / "p3m", "P3M-500-NP").pairs)
    return np.dstack([sample.image, sample.alpha * 255, sample.trimap])


def shown(root):
    return contact_sheet(root / "p3m", 4)


@pytest.fixture(scope="module")
def upright(tmp_path_factory):
    return data_set(tmp_path_factory.mktemp("upright"), None)


@pytest.fixture(scope="module")
def seen_upright(upright):
    """What each of the readers makes of photos that are stored upright."""
    return functools.cache(lambda seen: seen(upright))


@pytest.mark.parametrize(
    "orientation", [6, *(pytest.param(each, marks=pytest.mark.slow) for each in (2, 3, 7))]
)
@pytest.mark.parametrize("seen", [trained_on, cached, validated_on, evaluated_on, shown])
def test_wherever_photos_are_read_they_are_turned_upright(tmp_path, seen_upright, seen, orientation):
    turned = data_set(tmp_path, orientation)
    np.testing.assert_array_equal(seen(turned), seen_upright(seen))


def test_an_inspection_measures_them_upright(tmp_path, upright):
    turned = inspect(data_set(tmp_path, 6) / "p3m")
    assert turned.problems == ()
    assert turned.splits == inspect(upright / "p3m").splits
