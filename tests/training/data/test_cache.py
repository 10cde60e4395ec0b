"""Pictures are decoded and shrunk once, and made anew only when they changed."""

import collections
import os

import cv2
import numpy as np
import pytest
from rich.console import Console

from tests.training.p3m_folders import write_backgrounds, write_data_set
from training.data import cache
from training.data.cache import CacheError, build_cache, read_cached
from training.data.dataset import list_backgrounds, list_pairs
from training.data.images import ImageError, read_image
from training.data.masks import read_alpha_bytes

SILENT = Console(quiet=True)


@pytest.fixture
def data(tmp_path):
    pairs = list_pairs(write_data_set(tmp_path / "p3m", train=3), "train").pairs
    return pairs, list_backgrounds(write_backgrounds(tmp_path / "backgrounds"))


def test_large_pictures_are_shrunk_by_their_shorter_side(data, tmp_path):
    pairs, backgrounds = data
    sources = build_cache(pairs, backgrounds, tmp_path / "cache", 36, SILENT)
    assert (len(sources.images), sources.alphas, len(sources.backgrounds)) == (3, (), 3)
    pixels = read_cached(str(sources.images[1]), 4).numpy()
    image, alpha = read_image(pairs[1].image), read_alpha_bytes(pairs[1].alpha)
    expected = cv2.resize(np.dstack([image, alpha]), (36, 48), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(pixels, expected)
    # Backgrounds are 120 × 160.
    assert read_cached(str(sources.backgrounds[0]), 3).shape == (36, 48, 3)


def test_small_pictures_stay_as_they_are(data, tmp_path):
    pairs, _ = data
    sources = build_cache(pairs, (), tmp_path / "cache", 500, SILENT)
    pixels = read_cached(str(sources.images[0]), 4).numpy()
    np.testing.assert_array_equal(pixels[:, :, :3], read_image(pairs[0].image))
    np.testing.assert_array_equal(pixels[:, :, 3], read_alpha_bytes(pairs[0].alpha))


def test_what_is_there_is_not_made_again_and_what_changed_is(data, tmp_path, monkeypatch):
    pairs, backgrounds = data
    first = build_cache(pairs, backgrounds, tmp_path / "cache", 36, SILENT)
    made = []
    store = cache._store
    monkeypatch.setattr(cache, "_store", lambda path, pixels: (made.append(path), store(path, pixels)))
    assert build_cache(pairs, backgrounds, tmp_path / "cache", 36, SILENT) == first
    assert made == []
    mask = pairs[2].alpha
    os.utime(mask, ns=(0, mask.stat().st_mtime_ns + 10**9))
    second = build_cache(pairs, backgrounds, tmp_path / "cache", 36, SILENT)
    assert made == [second.images[2]]
    assert second.images[:2] == first.images[:2]
    build_cache(pairs, backgrounds, tmp_path / "cache", 40, SILENT)
    assert len(made) == 1 + 6


def test_a_file_cut_off_is_named(data, tmp_path):
    pairs, _ = data
    pairs[1].image.write_bytes(pairs[1].image.read_bytes()[:-300])
    with pytest.raises(ImageError, match=pairs[1].image.name):
        build_cache(pairs, (), tmp_path / "cache", 36, SILENT)
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_a_mask_of_another_size_is_named(data, tmp_path):
    pairs, _ = data
    cv2.imwrite(str(pairs[0].alpha), np.zeros((20, 30), np.uint8))
    with pytest.raises(
        ImageError, match=rf"{pairs[0].alpha.name}: image 96×72, mask 20×30 \(height × width\)"
    ):
        build_cache(pairs, (), tmp_path / "cache", 36, SILENT)


def test_what_another_way_of_reading_made_is_not_used(data, tmp_path, monkeypatch):
    first = build_cache(data[0], data[1], tmp_path / "cache", 36, SILENT)
    monkeypatch.setattr(cache, "READER_VERSION", cache.READER_VERSION + 1)
    second = build_cache(data[0], data[1], tmp_path / "cache", 36, SILENT)
    assert not {*first.images, *first.backgrounds} & {*second.images, *second.backgrounds}


def test_a_full_disk_is_told_before_it_is_full(data, tmp_path, monkeypatch):
    usage = collections.namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10_000))
    with pytest.raises(CacheError, match="give another --cache DIR, or a smaller shorter_side"):
        build_cache(data[0], (), tmp_path / "cache", 500, SILENT)
    assert not list((tmp_path / "cache").iterdir())
