"""What counts as done already."""

from __future__ import annotations

import json
import os

import pytest

from app.cli import journal
from app.cli.journal import Journal
from app.files.results import JOURNAL_FILE, Results


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"photo")
    return path


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out" / "inner").mkdir(parents=True)
    return tmp_path / "out"


def noted(out, photo, key="options"):
    """A result of `photo` that an earlier run has written and noted."""
    target = out / "inner" / "photo.png"
    target.write_bytes(b"matte")
    book = Journal(out, key)
    book.add(target, book.mark(photo), len(b"matte"))
    return target


def test_what_was_noted_is_done_for_the_next_run(out, photo):
    target = noted(out, photo)
    assert Journal(out, "options").has(photo, target)


def test_what_nobody_noted_is_not_done(out, photo):
    target = out / "photo.png"
    target.write_bytes(b"matte of some other program")
    assert not Journal(out, "options").has(photo, target)


def test_other_options_are_other_results(out, photo):
    assert not Journal(out, "other options").has(photo, noted(out, photo))


def test_result_that_is_gone_is_not_done(out, photo):
    target = noted(out, photo)
    target.unlink()
    assert not Journal(out, "options").has(photo, target)


def test_photo_that_is_gone_is_not_done(out, photo):
    target = noted(out, photo)
    photo.unlink()
    assert not Journal(out, "options").has(photo, target)


def test_photo_that_was_replaced_is_done_anew_even_by_an_older_one(out, photo):
    target = noted(out, photo)
    photo.write_bytes(b"other photo")
    assert not Journal(out, "options").has(photo, target)
    photo.write_bytes(b"photo")
    os.utime(photo, ns=(0, 0))
    assert not Journal(out, "options").has(photo, target)


def test_result_of_another_photo_of_the_same_stem_is_not_taken_for_this_ones(out, photo):
    target = noted(out, photo)
    other = photo.with_suffix(".webp")
    other.write_bytes(b"photo")
    stat = photo.stat()
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert not Journal(out, "options").has(other, target)


def test_folder_may_be_moved_with_its_photos_and_results(out, photo, tmp_path):
    noted(out, photo)
    moved = out.rename(tmp_path / "elsewhere")
    assert Journal(moved, "options").has(photo, moved / "inner" / "photo.png")


@pytest.mark.parametrize("rest", ['["inner/pho', "[]", "3", "null", '{"a": 1, "b": 2, "c": 3}'])
def test_line_that_was_cut_off_does_no_harm(out, photo, rest):
    target = noted(out, photo)
    with (out / JOURNAL_FILE).open("a") as file:
        file.write(rest)
    assert Journal(out, "options").has(photo, target)


@pytest.mark.parametrize("rest", ['["inner/pho', "\udcff"])
def test_what_is_noted_after_a_line_that_was_cut_off_is_not_lost_with_it(out, photo, rest):
    with (out / JOURNAL_FILE).open("a", errors="surrogateescape") as file:
        file.write(rest)
    target = noted(out, photo)
    assert Journal(out, "options").has(photo, target)


def test_result_that_was_noted_and_never_written_is_not_done(out, photo):
    """A crash came between: the file is not there, or an older one is."""
    target = noted(out, photo)
    book = Journal(out, "options")
    book.add(target, book.mark(photo), 99)
    assert not Journal(out, "options").has(photo, target)
    assert Results().contains(target)


def test_journal_of_an_older_version_without_sizes_is_read(out, photo):
    target = noted(out, photo)
    lines = [json.loads(line)[:2] for line in (out / JOURNAL_FILE).read_text().splitlines()]
    (out / JOURNAL_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert Journal(out, "options").has(photo, target)


def test_file_name_may_hold_anything(out, photo):
    target = out / 'a "b"\nc\udce9.png'
    target.write_bytes(b"matte")
    book = Journal(out, "options")
    book.add(target, book.mark(photo), len(b"matte"))
    assert Journal(out, "options").has(photo, target)


def test_journal_does_not_grow_without_end(out, photo, monkeypatch):
    monkeypatch.setattr(journal, "_STALE_LINES_MAX", 2)
    for _ in range(3):
        target = noted(out, photo)
    assert len((out / JOURNAL_FILE).read_text().splitlines()) == 3
    noted(out, photo)
    assert Journal(out, "options").has(photo, target)
    assert len((out / JOURNAL_FILE).read_text().splitlines()) == 1
