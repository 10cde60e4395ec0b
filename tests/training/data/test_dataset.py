"""Folders become pairs: P3M-10k's in both of its layouts, and one's own."""

import pytest

from tests.training.p3m_folders import write_data_set, write_own_folder
from training.data.dataset import DatasetError, list_backgrounds, list_pairs, split_names


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
        DatasetError,
        match=r"has no folders\. .* no blurred_image/ and mask/ for train in .*/validation/train",
    ):
        list_pairs(tmp_path, "train")
    with pytest.raises(DatasetError, match="no picture found for background replacement"):
        list_backgrounds(tmp_path)
    for name in ("none", "file"):
        (tmp_path / "file").touch()
        with pytest.raises(DatasetError, match=f"{name}: no such folder"):
            list_backgrounds(tmp_path / name)
        with pytest.raises(DatasetError, match=f"{name}: no such folder"):
            list_pairs(tmp_path / name, "train")


def test_a_split_without_a_whole_pair_is_an_error(tmp_path):
    root = write_data_set(tmp_path, train=1)
    (root / "train" / "mask" / "p_00000000.png").unlink()
    with pytest.raises(DatasetError, match="no photo has a mask of the same name"):
        list_pairs(root, "train")


def own_folder(root, images, masks):
    for folder, names in (("image", images), ("mask", masks)):
        (root / folder).mkdir(parents=True)
        for name in names:
            (root / folder / name).touch()
    return root


def every_pair(root):
    return sorted((pair for split in split_names(root) for pair in list_pairs(root, split).pairs), key=str)


def names_of(pairs):
    return [(pair.image.name, pair.alpha.name) for pair in pairs]


def test_photos_and_masks_may_have_any_format_that_is_read(tmp_path):
    photos = [f"{i}{suffix}" for i, suffix in enumerate((".JPG", ".jpeg", ".jpe", ".jfif", ".png", ".webp"))]
    masks = [f"{i}{suffix}" for i, suffix in enumerate((".bmp", ".tif", ".TIFF", ".webp", ".png", ".jpg"))]
    root = own_folder(tmp_path, photos, masks)
    assert names_of(every_pair(root)) == list(zip(photos, masks, strict=True))
    assert list_pairs(root, "train").listing.others == {}


@pytest.mark.parametrize(
    "ending", ["_mask", "-mask", "_matte", "-matte", "_alpha", "-alpha", "_MASK", " matte"]
)
def test_a_mask_may_say_in_its_name_that_it_is_one(tmp_path, ending):
    root = own_folder(tmp_path, ["a.jpg", "b_mask.jpg"], [f"a{ending}.png", "b_mask.png"])
    assert names_of(every_pair(root)) == [("a.jpg", f"a{ending}.png"), ("b_mask.jpg", "b_mask.png")]
    assert [pair.stem for pair in every_pair(root)] == ["a", "b_mask"]


def test_of_several_masks_the_one_of_the_exact_stem_is_used_and_all_are_listed(tmp_path):
    root = own_folder(tmp_path, ["a.jpg", "b.jpg"], ["a-alpha.png", "a.png", "a_mask.png", "b_matte.png"])
    assert names_of(every_pair(root)) == [("a.jpg", "a.png"), ("b.jpg", "b_matte.png")]
    (duplicates,) = list_pairs(root, "train").listing.duplicates
    assert [path.name for path in duplicates] == ["a.png", "a-alpha.png", "a_mask.png"]


def test_what_file_managers_leave_behind_is_no_picture(tmp_path):
    left = ["._a.jpg", "._b.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", ".hidden.png"]
    root = own_folder(tmp_path, ["a.jpg", "b.jpg", *left], ["a.png", "b.png", "._a.png", *left])
    (root / "image" / "folder.jpg").mkdir()
    split = list_pairs(root, "train")
    assert names_of(every_pair(root)) == [("a.jpg", "a.png"), ("b.jpg", "b.png")]
    assert (split.images_without_alpha, split.alphas_without_image) == ((), ())
    assert split.listing.others == {}


def test_backgrounds_are_not_taken_from_what_is_left_behind(tmp_path):
    for name in ("a.webp", "b/c.jfif", "._a.jpg", "__MACOSX/d.jpg", ".cache/e.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in list_backgrounds(tmp_path)] == ["a.webp", "c.jfif"]


def test_files_of_other_formats_are_counted(tmp_path):
    photos = ["a.jpg", "b.jpg", "c.heic", "d.HEIC", "e.avif", "f"]
    root = own_folder(tmp_path, photos, ["a.png", "b.png", "c.psd"])
    assert list_pairs(root, "train").listing.others == {
        "image": {".heic": 2, ".avif": 1, "": 1},
        "mask": {".psd": 1},
    }


def test_where_nothing_is_a_pair_the_files_are_told_by_their_kinds(tmp_path):
    root = own_folder(tmp_path, ["a.heic", "b.heic", "c.jpg"], ["a.png", "b.npy", ".DS_Store"])
    with pytest.raises(DatasetError) as raised:
        list_pairs(root, "train")
    assert (
        "no photo has a mask of the same name: image/ has 2 .heic, 1 .jpg; mask/ has 1 .npy, 1 .png. "
        "Names are such as image/c.jpg and mask/a.png." in str(raised.value)
    )
    empty = own_folder(tmp_path / "empty", [], [])
    with pytest.raises(DatasetError, match="image/ has no files; mask/ has no files"):
        list_pairs(empty, "train")


def test_ones_own_folder_is_split_by_its_stems(tmp_path):
    root = write_own_folder(tmp_path / "own", 40)
    train, held_out = (list_pairs(root, split) for split in ("train", "held-out"))
    stems = [{pair.stem for pair in split.pairs} for split in (train, held_out)]
    assert not stems[0] & stems[1]
    assert len(stems[0] | stems[1]) == 40
    assert 1 <= len(stems[1]) <= 10
    assert (train.name, held_out.name) == split_names(root) == ("train", "held-out")


def test_a_pair_stays_held_out_when_others_come(tmp_path):
    few = {pair.stem for pair in list_pairs(write_own_folder(tmp_path / "few", 40), "held-out").pairs}
    many = {pair.stem for pair in list_pairs(write_own_folder(tmp_path / "many", 80), "held-out").pairs}
    assert few < many


def test_of_a_few_own_pairs_one_is_held_out(tmp_path):
    root = write_own_folder(tmp_path / "own", 2)
    assert [len(list_pairs(root, split).pairs) for split in ("train", "held-out")] == [1, 1]


def test_ones_own_folder_has_no_other_splits_and_needs_two_pairs(tmp_path):
    with pytest.raises(
        DatasetError, match=r"its splits are train, held-out, not 'P3M-500-NP'\..*validation_split"
    ):
        list_pairs(write_own_folder(tmp_path / "own", 2), "P3M-500-NP")
    with pytest.raises(DatasetError, match="two pairs are the least"):
        list_pairs(write_own_folder(tmp_path / "one", 1), "train")


def test_folders_of_other_names_are_told_and_those_that_are_needed(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    with pytest.raises(
        DatasetError, match=r"has images/, masks/\. Put photos in image/ and masks .* in mask/"
    ):
        list_pairs(tmp_path, "train")
