"""Which files earlier runs have made."""

from __future__ import annotations

import json

import pytest

from app.files import results
from app.files.results import JOURNAL_FILE, LIST_FILE, Results
from tests.app.cli.conftest import touch


@pytest.fixture(params=[JOURNAL_FILE, LIST_FILE])
def noted(request, tmp_path):
    """Notes files of 3 bytes as results, in a folder."""

    def note(folder, *names):
        folder.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps([name, "mark", 3]) + "\n" for name in names)
        if request.param == LIST_FILE:
            text = results.listed(names)
        with (folder / request.param).open("a") as file:
            file.write(text)

    note.sizes = request.param == JOURNAL_FILE
    return note


def made(folder, name):
    (path,) = touch(folder, name)
    path.write_bytes(b"123")
    return path


def test_what_is_noted_is_a_result_and_nothing_else_is(noted, tmp_path):
    noted(tmp_path, "a.png", "in/deep/b.png")
    for name in ("a.png", "in/deep/b.png"):
        assert Results().contains(made(tmp_path, name))
    for name in ("b.png", "in/a.png", "in/deep/a.png"):
        assert not Results().contains(made(tmp_path, name))


def test_photo_in_place_of_a_result_is_a_photo(noted, tmp_path):
    noted(tmp_path, "a.png")
    path = made(tmp_path, "a.png")
    path.write_bytes(b"somebody's photo")
    assert Results().contains(path) is not noted.sizes


def test_result_that_is_gone_is_none(noted, tmp_path):
    noted(tmp_path, "a.png")
    assert (
        Results().contains(tmp_path / "a.png") is not noted.sizes
    )  # The list of `bulk` has no sizes to compare.


def test_results_of_one_folder_are_no_results_of_another(noted, tmp_path):
    noted(tmp_path / "out", "a.png")
    assert not Results().contains(made(tmp_path, "a.png"))
    path = made(tmp_path / "out", "a.png")
    assert Results().contains(path, below=tmp_path / "out")
    assert not Results().contains(path, below=tmp_path)


def test_what_is_noted_later_is_known_at_the_next_look(noted, tmp_path):
    seen = Results()
    path = made(tmp_path, "a.png")
    assert not seen.contains(path)
    noted(tmp_path, "a.png")
    assert not seen.contains(path)
    seen.refresh()
    assert seen.contains(path)


def test_results_are_known_through_links(noted, tmp_path):
    noted(tmp_path / "out", "a.png", "link/b.png")
    made(tmp_path / "out", "a.png")
    made(tmp_path / "else", "b.png")
    (tmp_path / "out" / "link").symlink_to("../else")
    (tmp_path / "to").symlink_to("out")
    (tmp_path / "c.png").symlink_to("out/a.png")
    for name in ("to/a.png", "c.png", "out/link/b.png"):
        assert Results().contains(tmp_path / name)


@pytest.mark.parametrize("line", ['["a.png', "3", "null", "[]", "{}", '["b.png", "m", "many"]', "\xff"])
def test_line_that_says_nothing_does_no_harm(tmp_path, line):
    path = made(tmp_path, "a.png")
    text = f'{line}\n["a.png", "mark", 3]\n'
    (tmp_path / JOURNAL_FILE).write_bytes(text.encode("latin-1"))
    assert Results().contains(path)


def test_older_size_counts_too(tmp_path):
    """The newer line is written before its file, which may never have come."""
    path = made(tmp_path, "a.png")
    (tmp_path / JOURNAL_FILE).write_text('["a.png", "mark", 3]\n["a.png", "other", 9]\n')
    assert Results().contains(path)


def test_journal_of_an_older_version_has_no_sizes(tmp_path):
    path = made(tmp_path, "a.png")
    (tmp_path / JOURNAL_FILE).write_text('["a.png", "mark"]\n')
    assert Results().contains(path)
