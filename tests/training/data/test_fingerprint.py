"""A run knows again the pictures it was begun on, wherever they lie, and tells what is different."""

import shutil

import cv2
import numpy as np
import pytest

from tests.training.p3m_folders import write_backgrounds, write_own_folder
from training.data.dataset import list_backgrounds, list_pairs
from training.data.fingerprint import DataFingerprint


@pytest.fixture
def folder(tmp_path):
    write_own_folder(tmp_path / "a" / "own", 12)
    write_backgrounds(tmp_path / "a" / "backgrounds")
    return tmp_path / "a"


def pictures_of(folder):
    training, validation = (list_pairs(folder / "own", split).pairs for split in ("train", "held-out"))
    return DataFingerprint.of(training, validation, list_backgrounds(folder / "backgrounds"))


def test_the_same_pictures_elsewhere_are_the_same(folder, tmp_path):
    record = pictures_of(folder).to_json()
    shutil.copytree(folder, tmp_path / "b")
    assert pictures_of(tmp_path / "b").changed_since(record) == ""


def stem_of(folder, split):
    return list_pairs(folder / "own", split).pairs[0].stem


def one_more(folder):
    shutil.copy(folder / "backgrounds" / "b0.jpg", folder / "backgrounds" / "b9.jpg")


def one_less(folder):
    (folder / "own" / "image" / f"{stem_of(folder, 'train')}.jpg").unlink()


def renamed(folder):
    (folder / "backgrounds" / "b0.jpg").rename(folder / "backgrounds" / "c.jpg")


def other_photo(folder):
    noise = np.random.default_rng(0).integers(0, 256, (96, 72, 3), np.uint8)
    cv2.imwrite(str(folder / "own" / "image" / f"{stem_of(folder, 'train')}.jpg"), noise)


def other_mask(folder):
    noise = np.random.default_rng(0).integers(0, 256, (96, 72), np.uint8)
    cv2.imwrite(str(folder / "own" / "mask" / f"{stem_of(folder, 'held-out')}.png"), noise)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (one_more, "backgrounds: 4 instead of 3"),
        (one_less, "training: {less} instead of {training}"),
        (renamed, "backgrounds: other names"),
        (other_photo, "training: {training} of the same names, but other files"),
        (other_mask, "validation: {validation} of the same names, but other files"),
    ],
)
def test_what_changed_is_told(folder, change, words):
    before = pictures_of(folder)
    counts = {"training": before.training.count, "validation": before.validation.count}
    change(folder)
    told = pictures_of(folder).changed_since(before.to_json())
    assert told == words.format(**counts, less=counts["training"] - 1)
