"""Pairs become the same samples however a run was cut, and however its batches are shared."""

import cv2
import numpy as np
import pytest
from rich.console import Console

from tests.training.p3m_folders import write_backgrounds, write_data_set
from training.config import AugmentConfig
from training.data.cache import build_cache
from training.data.dataset import Sources, list_backgrounds, list_pairs
from training.data.images import DataError
from training.data.input_pipeline import ALL_REPLICAS, ReplicaRange, name_unreadable_files, training_batches


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    pairs = list_pairs(write_data_set(folder / "p3m", train=5), "train").pairs
    return Sources.of(pairs, list_backgrounds(write_backgrounds(folder / "backgrounds")))


def batches(sources, first, last, *, seed=3, batch_size=2, replicas=ALL_REPLICAS):
    samples = training_batches(
        sources,
        AugmentConfig(background_share=0.5),
        size=64,
        batch_size=batch_size,
        seed=seed,
        first_step=first,
        last_step=last,
        replicas=replicas,
    )
    return [tuple(part.numpy() for part in batch) for batch in samples]


@pytest.fixture(scope="module")
def ten(sources):
    """The first ten batches of a run."""
    return batches(sources, 0, 10)


def test_batches_have_the_promised_shapes_and_ranges(ten):
    image, alpha, index = ten[0]
    assert image.shape == (2, 64, 64, 3)
    assert alpha.shape == (2, 64, 64, 1)
    assert image.dtype == alpha.dtype == np.float32
    assert image.min() >= 0
    assert 1 < image.max() <= 255
    assert alpha.min() >= 0
    assert alpha.max() <= 1
    assert index.shape == (2,)


def test_a_run_cut_anywhere_sees_the_same_samples(sources, ten):
    assert len(ten) == 10
    for expected, actual in zip(ten[4:7], batches(sources, 4, 7), strict=True):
        for a, b in zip(expected, actual, strict=True):
            np.testing.assert_array_equal(a, b)


def test_every_epoch_shows_every_pair_once_in_its_own_order(ten):
    indices = np.concatenate([index for _, _, index in ten])
    epochs = indices.reshape(4, 5)
    assert [sorted(epoch) for epoch in epochs.tolist()] == [[0, 1, 2, 3, 4]] * 4
    assert len({tuple(epoch) for epoch in epochs.tolist()}) > 1


def test_another_seed_gives_other_samples(sources, ten):
    assert not np.array_equal(ten[0][0], batches(sources, 0, 1, seed=4)[0][0])


@pytest.mark.slow
def test_hosts_and_replicas_together_make_the_whole_batch(sources):
    whole = batches(sources, 1, 3, batch_size=6)
    # Two hosts, the first with two replicas of three.
    first, second = (
        batches(sources, 1, 3, batch_size=6, replicas=replicas)
        for replicas in (ReplicaRange(0, 2, 3), ReplicaRange(2, 1, 3))
    )
    assert [len(first), len(second)] == [4, 2]
    for step in range(2):
        parts = [*first[2 * step : 2 * step + 2], second[step]]
        for i, expected in enumerate(whole[step]):
            np.testing.assert_array_equal(np.concatenate([part[i] for part in parts]), expected)


@pytest.mark.slow
def test_cached_pictures_of_their_own_size_give_the_samples_of_the_files(tmp_path):
    """From PNG, because decoders of JPEG differ."""
    for pair in list_pairs(write_data_set(tmp_path, train=3), "train").pairs:
        cv2.imwrite(str(pair.image.with_suffix(".png")), cv2.imread(str(pair.image)))
        pair.image.unlink()
    pairs = list_pairs(tmp_path, "train").pairs
    cached = build_cache(pairs, (), tmp_path / "cache", 100, Console(quiet=True))
    for expected, actual in zip(batches(Sources.of(pairs), 0, 3), batches(cached, 0, 3), strict=True):
        for a, b in zip(expected, actual, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_picture_that_cannot_be_decoded_is_named(tmp_path):
    pairs = list_pairs(write_data_set(tmp_path, train=3), "train").pairs
    bad = pairs[1].image
    bad.write_bytes(bad.read_bytes()[:200])
    sources = Sources.of(pairs)
    samples = training_batches(
        sources, AugmentConfig(), size=32, batch_size=3, seed=0, first_step=0, last_step=2
    )
    with pytest.raises(DataError, match=f"{bad.name}: ") as raised:
        list(name_unreadable_files(iter(samples), sources))
    assert str(raised.value).count("\n") == 0
