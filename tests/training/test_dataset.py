"""Folders become pairs: P3M-10k's in both of its layouts, and one's own."""

import pytest

from tests.training.p3m_folders import write_data_set, write_own_folder
from training.dataset import DatasetError, list_backgrounds, list_pairs, splits_of


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


def test_ones_own_folder_is_split_by_its_stems(tmp_path):
    root = write_own_folder(tmp_path / "own", 40)
    train, held_out = (list_pairs(root, split) for split in ("train", "held-out"))
    stems = [{pair.stem for pair in split.pairs} for split in (train, held_out)]
    assert not stems[0] & stems[1]
    assert len(stems[0] | stems[1]) == 40
    assert 1 <= len(stems[1]) <= 10
    assert (train.name, held_out.name) == splits_of(root) == ("train", "held-out")


def test_a_pair_stays_held_out_when_others_come(tmp_path):
    few = {pair.stem for pair in list_pairs(write_own_folder(tmp_path / "few", 40), "held-out").pairs}
    many = {pair.stem for pair in list_pairs(write_own_folder(tmp_path / "many", 80), "held-out").pairs}
    assert few < many


def test_of_a_few_own_pairs_one_is_held_out(tmp_path):
    root = write_own_folder(tmp_path / "own", 2)
    assert [len(list_pairs(root, split).pairs) for split in ("train", "held-out")] == [1, 1]


def test_ones_own_folder_has_no_other_splits_and_needs_two_pairs(tmp_path):
    with pytest.raises(DatasetError, match="its splits are train, held-out, not 'P3M-500-NP'"):
        list_pairs(write_own_folder(tmp_path / "own", 2), "P3M-500-NP")
    with pytest.raises(DatasetError, match="two pairs are the least"):
        list_pairs(write_own_folder(tmp_path / "one", 1), "train")
