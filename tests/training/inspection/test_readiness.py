"""Every pair is looked at before the first step: what cannot be trained on is named, what is odd can be allowed."""

import io
import json
import os

import cv2
import numpy as np
import PIL.Image
import pytest
from rich.console import Console

from tests.training.data.test_images import exif_of
from tests.training.p3m_folders import write_backgrounds, write_own_folder
from training.data.dataset import list_backgrounds, list_pairs
from training.data.findings import WARNINGS, AllowableProblem, FindingKind
from training.data.images import DataError
from training.inspection import readiness
from training.inspection.readiness import check_ready

SILENT = Console(quiet=True)
PHOTO = "image/photo 1.jpg"
MASK = "mask/photo 1.png"


@pytest.fixture
def root(tmp_path):
    return write_own_folder(tmp_path / "own", 4)


def check(root, *, allowed=(), backgrounds=(), console=SILENT):
    splits = [list_pairs(root, name) for name in ("train", "held-out")]
    check_ready(splits, backgrounds, root, root.parent / "notes", console, frozenset(allowed))


def refused(root, **options):
    """What is shown, and the error's text."""
    console = Console(file=io.StringIO(), width=200)
    with pytest.raises(DataError) as raised:
        check(root, console=console, **options)
    return console.file.getvalue(), str(raised.value)


def rewrite(path, pixels):
    assert cv2.imwrite(str(path), pixels)


def mask_of(root):
    return cv2.imread(str(root / MASK), 0)


def test_sound_pairs_are_ready(root):
    check(root)


HOPELESS = {
    FindingKind.UNREADABLE: lambda root: (root / PHOTO).write_bytes((root / PHOTO).read_bytes()[:-40]),
    FindingKind.SIZE_MISMATCH: lambda root: rewrite(root / MASK, mask_of(root)[:-1]),
    FindingKind.COLOURED: lambda root: rewrite(root / MASK, cv2.imread(str(root / PHOTO))),
    FindingKind.UNCLEAR: lambda root: PIL.Image.merge(
        "LA", [PIL.Image.fromarray(255 - mask_of(root)), PIL.Image.fromarray(mask_of(root))]
    ).save(root / MASK),
    FindingKind.SCALE: lambda root: rewrite(root / MASK, mask_of(root) // 255),
}
ODD = {
    AllowableProblem.TWICE: lambda root: rewrite(root / "mask" / "photo 1_mask.png", mask_of(root)),
    AllowableProblem.EMPTY: lambda root: rewrite(root / MASK, np.zeros_like(mask_of(root))),
    AllowableProblem.FAINT: lambda root: rewrite(root / MASK, mask_of(root) // 3),
    AllowableProblem.FULL: lambda root: rewrite(root / MASK, np.full_like(mask_of(root), 255)),
    AllowableProblem.INVERTED: lambda root: rewrite(root / MASK, 255 - mask_of(root)),
}


@pytest.mark.parametrize("kind", HOPELESS)
def test_what_nothing_can_be_learnt_from_is_named_and_not_to_be_allowed(root, kind):
    HOPELESS[kind](root)
    shown, message = refused(root, allowed=AllowableProblem)
    assert f"{kind} (1)" in shown
    assert f"  {PHOTO if kind is FindingKind.UNREADABLE else MASK}: " in shown
    assert message.startswith(
        "1 of 4 pairs and backgrounds cannot be trained on as they are: put them right."
    )
    assert "--allow" not in message
    assert f"`python -m training inspect {root}`" in message


@pytest.mark.parametrize("oddity", AllowableProblem)
def test_what_is_odd_is_named_and_can_be_allowed(root, oddity):
    ODD[oddity](root)
    others = [other for other in AllowableProblem if other is not oddity]
    shown, message = refused(root, allowed=others)
    assert f"{oddity.kind} (1)" in shown
    assert f"What is meant to be so passes with --allow {oddity}." in message
    check(root, allowed=[oddity])


def test_an_oddity_is_a_problem():
    assert not {oddity.kind for oddity in AllowableProblem} & WARNINGS


def test_a_photo_stored_turned_is_ready(root):
    turned = PIL.Image.open(root / PHOTO).rotate(90, expand=True)
    turned.save(root / PHOTO, exif=exif_of(6))
    check(root)


def test_a_link_that_leads_nowhere_is_named(root):
    (root / PHOTO).unlink()
    (root / PHOTO).symlink_to(root / "gone.jpg")
    shown, _ = refused(root)
    assert f"  {PHOTO}: no such file" in shown


def test_a_background_that_cannot_be_read_is_named(root, tmp_path):
    backgrounds = list_backgrounds(write_backgrounds(tmp_path / "backgrounds"))
    check(root, backgrounds=backgrounds)
    backgrounds[1].write_bytes(backgrounds[1].read_bytes()[:-9])
    shown, message = refused(root, backgrounds=backgrounds)
    assert f"{backgrounds[1]}: " in shown
    assert message.startswith("1 of 7 pairs and backgrounds")


def test_what_was_looked_at_is_looked_at_again_only_when_it_changed(root, monkeypatch):
    looked = []
    look = readiness._check_item
    monkeypatch.setattr(
        readiness, "_check_item", lambda item, root: (looked.append(item.files.stem), look(item, root))[1]
    )
    check(root)
    assert sorted(looked) == [f"photo {i}" for i in range(4)]
    check(root)
    assert len(looked) == 4
    stat = (root / MASK).stat()
    os.utime(root / MASK, ns=(0, stat.st_mtime_ns + 10**9))
    check(root)
    assert looked[4:] == ["photo 1"]


def test_a_problem_is_told_again_without_another_look(root, monkeypatch):
    ODD[AllowableProblem.EMPTY](root)
    before = refused(root)
    monkeypatch.setattr(readiness, "_check_item", None)
    shown, message = refused(root)
    assert message == before[1]
    assert f"  {MASK}: every value is 0" in shown


def test_other_rules_look_again(root, monkeypatch):
    check(root)
    monkeypatch.setattr(readiness, "RULES_VERSION", readiness.RULES_VERSION + 1)
    ODD[AllowableProblem.EMPTY](root)
    refused(root)


@pytest.mark.parametrize("content", ["", "[1]", "{", "\xff"])
def test_notes_that_are_damaged_are_made_anew(root, content):
    check(root)
    (notes,) = (root.parent / "notes").iterdir()
    notes.write_text(content, "latin-1")
    check(root)
    assert len(json.loads(notes.read_text())) == 4


def test_without_a_place_for_notes_it_is_looked_all_the_same(root):
    (root.parent / "notes").touch()
    check(root)
    ODD[AllowableProblem.EMPTY](root)
    refused(root)
