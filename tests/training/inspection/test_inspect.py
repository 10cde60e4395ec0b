"""A data set with broken files is described as it is: each fault is named with its file, and sound data have none."""

import json

import cv2
import numpy as np
import pytest

from tests.training.p3m_folders import write_data_set
from training.data.dataset import DatasetError
from training.data.findings import FindingKind
from training.inspection.inspect import inspect

TRAIN = "train/blurred_image/p_00000000.jpg"
MASK = "train/mask/p_00000000.png"
TRIMAP = "validation/P3M-500-NP/trimap/p_00000000.png"


@pytest.fixture
def root(tmp_path):
    return write_data_set(tmp_path / "data", train=4, validation=2)


def found(inspection, *, problems=True):
    return [
        (finding.kind, finding.file, finding.what)
        for finding in (inspection.problems if problems else inspection.warnings)
    ]


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rewrite(path, pixels):
    assert cv2.imwrite(str(path), pixels)


def test_sound_data_have_no_findings_and_are_described(root):
    inspection = inspect(root)
    assert inspection.findings == ()
    assert inspection.absent == ()
    train, blurred, clear = inspection.splits
    assert [split.name for split in inspection.splits] == ["train", "P3M-500-P", "P3M-500-NP"]
    assert (train.pairs, train.trimaps) == (4, None)
    assert (blurred.pairs, blurred.trimaps) == (clear.pairs, clear.trimaps) == (2, 2)
    assert (train.height.least, train.height.most, train.width.median) == (96, 96, 72)
    assert train.megapixels.mean == pytest.approx(96 * 72 / 1e6)
    assert train.soft == 1
    masks = [cv2.imread(str(path), 0) for path in (root / "train" / "mask").iterdir()]
    assert train.foreground == pytest.approx(np.mean(masks) / 255)
    assert train.several_channels == 0


def test_hard_masks_and_masks_of_several_channels_are_counted(root):
    hard = np.zeros((96, 72, 3), np.uint8)
    hard[:48] = 255
    rewrite(root / MASK, hard)
    inspection = inspect(root)
    assert inspection.findings == ()
    assert inspection.splits[0].several_channels == 1
    assert inspection.splits[0].soft == pytest.approx(3 / 4)


def test_a_damaged_file_is_a_problem_and_the_rest_is_measured(root):
    truncate(root / TRAIN)
    inspection = inspect(root)
    (problem,) = inspection.problems
    assert (problem.kind, problem.split, problem.file) == (FindingKind.UNREADABLE, "train", TRAIN)
    assert inspection.splits[0].pairs == 4
    assert inspection.splits[0].height.mean == 96


def test_halves_of_pairs_are_problems_and_counted(root):
    (root / MASK).unlink()
    (root / "train/blurred_image/p_00000002.jpg").unlink()
    inspection = inspect(root)
    assert found(inspection) == [
        (FindingKind.NO_MASK, TRAIN, "no mask"),
        (FindingKind.NO_IMAGE, "train/mask/p_00000002.png", "no image"),
    ]
    split = inspection.splits[0]
    assert (split.pairs, split.images_without_mask, split.masks_without_image) == (2, 1, 1)


def test_a_missing_trimap_is_a_problem_and_a_lone_one_a_warning(root):
    (root / TRIMAP).rename(root / TRIMAP.replace("00000000", "lone"))
    inspection = inspect(root)
    photo = "validation/P3M-500-NP/original_image/p_00000000.jpg"
    assert found(inspection) == [(FindingKind.NO_TRIMAP, photo, "no trimap")]
    lone = TRIMAP.replace("00000000", "lone")
    assert found(inspection, problems=False) == [(FindingKind.LONE_TRIMAP, lone, "no pair")]
    assert inspection.splits[2].trimaps == 1


def test_two_files_of_one_stem_are_a_problem(root):
    rewrite(root / TRAIN.replace("jpg", "png"), cv2.imread(str(root / TRAIN)))
    assert found(inspect(root)) == [(FindingKind.TWICE, TRAIN, "also p_00000000.png")]


def test_files_of_other_formats_are_a_warning_and_what_file_managers_leave_is_nothing(root):
    for name in ("a.heic", "b.HEIC", "c.avif", "._p_00000000.jpg", ".DS_Store", "Thumbs.db"):
        (root / "train" / "blurred_image" / name).touch()
    inspection = inspect(root)
    assert found(inspection) == []
    counted = (FindingKind.OTHER_FORMAT, "train/blurred_image", "2 .heic, 1 .avif")
    assert found(inspection, problems=False) == [counted]


def test_folders_beside_count_the_pairs_that_they_hold(root):
    (root / "train" / "facemask").mkdir()
    for stem in ("p_00000001", "p_of_nobody"):
        rewrite(root / "train" / "facemask" / f"{stem}.png", np.zeros((8, 8), np.uint8))
    train, blurred, _ = inspect(root).splits
    assert train.beside == {"facemask": 1}
    assert blurred.beside == {}


def test_a_photo_in_two_splits_and_one_that_is_twice_in_one_are_warnings(root):
    data = (root / TRAIN).read_bytes()
    leaked, again = "validation/P3M-500-P/blurred_image/p_00000001.jpg", TRAIN.replace("00000000", "00000003")
    (root / leaked).write_bytes(data)
    (root / again).write_bytes(data)
    inspection = inspect(root, decode=False)
    assert inspection.problems == ()
    assert found(inspection, problems=False) == [
        (FindingKind.REPEATED, again, f"same bytes as {TRAIN}"),
        (FindingKind.LEAK, leaked, f"same bytes as {TRAIN}"),
    ]


def test_photos_of_equal_length_alone_are_not_the_same(root):
    photos = sorted((root / "train" / "blurred_image").iterdir())
    longest = max(photo.stat().st_size for photo in photos)
    for photo in photos:  # what follows a JPEG's end is ignored
        photo.write_bytes(photo.read_bytes().ljust(longest, b"\0"))
    assert inspect(root).findings == ()


def test_a_missing_split_is_absent_and_no_problem(tmp_path):
    root = write_data_set(tmp_path, train=2)
    (root / "validation" / "P3M-500-P").rename(tmp_path / "elsewhere")
    inspection = inspect(root)
    assert inspection.absent == ("P3M-500-P",)
    assert [split.name for split in inspection.splits] == ["train", "P3M-500-NP"]
    assert inspection.findings == ()


def test_a_split_that_is_there_but_has_no_masks_is_a_problem(root):
    (root / "validation" / "P3M-500-P" / "mask").rename(root / "validation" / "P3M-500-P" / "masks")
    inspection = inspect(root)
    (problem,) = inspection.problems
    assert (problem.kind, problem.file) == (FindingKind.NO_PAIR, "validation/P3M-500-P")
    assert "no blurred_image/ and mask/" in problem.what
    assert inspection.absent == ()


def test_a_folder_without_any_split_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="no blurred_image/ and mask/ for train"):
        inspect(tmp_path)


def test_own_pairs_are_inspected_once_as_train_and_held_out(tmp_path, root):
    own = tmp_path / "own"
    own.mkdir()
    (root / "train" / "blurred_image").rename(own / "image")
    (root / "train" / "mask").rename(own / "mask")
    (own / "mask" / "p_00000001.png").unlink()
    inspection = inspect(own)
    assert [split.name for split in inspection.splits] == ["train", "held-out"]
    assert sum(split.pairs for split in inspection.splits) == 3
    assert found(inspection) == [(FindingKind.NO_MASK, "image/p_00000001.jpg", "no mask")]
    assert inspection.problems[0].split == "train"


def test_json_has_every_figure_and_finding(root):
    truncate(root / MASK)
    document = json.loads(inspect(root).to_json())
    assert document["splits"][0]["width"] == {"least": 72, "median": 72, "most": 72, "mean": 72}
    (finding,) = document["findings"]
    assert finding["kind"] == "unreadable file"
    assert (finding["split"], finding["stem"], finding["file"]) == ("train", "p_00000000", MASK)
