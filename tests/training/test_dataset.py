"""P3M-10k's folders become pairs, and pairs become the same samples however a run was cut."""

import numpy as np
import pytest

from tests.training.p3m_folders import write_backgrounds, write_data_set
from training.config import AugmentConfig
from training.dataset import DatasetError, list_backgrounds, list_pairs, training_samples


@pytest.mark.parametrize("validation_level", [True, False])
@pytest.mark.parametrize("split", ["train", "P3M-500-P", "P3M-500-NP"])
def test_both_layouts_are_read(tmp_path, split, validation_level):
    root = write_data_set(tmp_path, train=2, validation=2, validation_level=validation_level)
    pairs = list_pairs(root, split).pairs
    assert [pair.stem for pair in pairs] == ["p_00000000", "p_00000001"]
    for pair in pairs:
        assert pair.image.suffix == ".jpg"
        assert pair.image.stem == pair.alpha.stem == pair.stem
        assert (pair.trimap is not None) == (split != "train")


def test_a_folder_above_p3m_10k_is_found_too(tmp_path):
    write_data_set(tmp_path / "P3M-10k", train=1)
    assert len(list_pairs(tmp_path, "train").pairs) == 1


def test_orphans_are_listed_and_left_out(tmp_path):
    root = write_data_set(tmp_path, train=3)
    (root / "train" / "mask" / "p_00000000.png").unlink()
    (root / "train" / "blurred_image" / "p_00000002.jpg").unlink()
    split = list_pairs(root, "train")
    assert [pair.stem for pair in split.pairs] == ["p_00000001"]
    assert split.images_without_alpha == ("p_00000000",)
    assert split.alphas_without_image == ("p_00000002",)


def test_errors_say_where_was_looked(tmp_path):
    with pytest.raises(DatasetError, match=r"unknown split 'test': use one of train, P3M-500-P"):
        list_pairs(tmp_path, "test")
    with pytest.raises(
        DatasetError, match=r"no blurred_image/ and mask/ for train; looked in .*/validation/train"
    ):
        list_pairs(tmp_path, "train")
    with pytest.raises(DatasetError, match="no picture found"):
        list_backgrounds(tmp_path)


def test_a_split_without_a_whole_pair_is_an_error(tmp_path):
    root = write_data_set(tmp_path, train=1)
    (root / "train" / "mask" / "p_00000000.png").unlink()
    with pytest.raises(DatasetError, match="no image has a mask of the same stem"):
        list_pairs(root, "train")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    pairs = list_pairs(write_data_set(folder / "p3m", train=5), "train").pairs
    return pairs, list_backgrounds(write_backgrounds(folder / "backgrounds"))


def batches(sources, first, last, seed=3):
    pairs, backgrounds = sources
    settings = AugmentConfig(background_share=0.5)
    samples = training_samples(
        pairs, backgrounds, settings, size=64, batch_size=2, seed=seed, first_step=first, last_step=last
    )
    return [tuple(part.numpy() for part in batch) for batch in samples]


def test_batches_have_the_promised_shapes_and_ranges(sources):
    image, alpha, index = batches(sources, 0, 1)[0]
    assert image.shape == (2, 64, 64, 3)
    assert alpha.shape == (2, 64, 64, 1)
    assert image.dtype == alpha.dtype == np.float32
    assert image.min() >= 0
    assert 1 < image.max() <= 255
    assert alpha.min() >= 0
    assert alpha.max() <= 1
    assert index.shape == (2,)


def test_a_run_cut_anywhere_sees_the_same_samples(sources):
    whole = batches(sources, 0, 7)
    resumed = batches(sources, 4, 7)
    assert len(whole) == 7
    for expected, actual in zip(whole[4:], resumed, strict=True):
        for a, b in zip(expected, actual, strict=True):
            np.testing.assert_array_equal(a, b)


def test_every_epoch_shows_every_pair_once_in_its_own_order(sources):
    indices = np.concatenate([index for _, _, index in batches(sources, 0, 10)])
    epochs = indices.reshape(4, 5)
    assert [sorted(epoch) for epoch in epochs.tolist()] == [[0, 1, 2, 3, 4]] * 4
    assert len({tuple(epoch) for epoch in epochs.tolist()}) > 1


def test_another_seed_gives_other_samples(sources):
    assert not np.array_equal(batches(sources, 0, 1)[0][0], batches(sources, 0, 1, seed=4)[0][0])
