"""What lies below a folder, links and all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.files import walk as walking
from app.files.walk import DEAD_LINK, LINKED_BACK, NOT_A_FILE, UNREADABLE, walk
from tests.app.cli.conftest import touch


def found(folder: Path, **chosen) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): why for path, why in walk(folder, **chosen)}


def test_files_are_found_in_all_folders(tmp_path):
    touch(tmp_path, "a", "b/c", "b/d/e")
    assert found(tmp_path) == {"a": "", "b/c": "", "b/d/e": ""}
    assert found(tmp_path, recursive=False) == {"a": ""}
    assert found(tmp_path, exclude=tmp_path / "b" / "d") == {"a": "", "b/c": ""}


def test_hidden_ones_are_found_on_request(tmp_path):
    touch(tmp_path, ".a", ".b/c", "d")
    assert found(tmp_path) == {"d": ""}
    assert found(tmp_path, hidden=True) == {".a": "", ".b/c": "", "d": ""}


def test_links_are_followed_each_under_its_own_name(tmp_path):
    touch(tmp_path, "else/a", "in/b")
    (tmp_path / "in" / "one").symlink_to(tmp_path / "else")
    (tmp_path / "in" / "two").symlink_to("../else")
    (tmp_path / "in" / "c").symlink_to("b")
    assert found(tmp_path / "in") == {"b": "", "c": "", "one/a": "", "two/a": ""}


def test_link_back_to_a_folder_above_ends(tmp_path):
    touch(tmp_path, "a/b/photo")
    (tmp_path / "a" / "b" / "self").symlink_to(".")
    (tmp_path / "a" / "b" / "up").symlink_to("..")
    (tmp_path / "a" / "b" / "top").symlink_to(tmp_path)
    assert found(tmp_path / "a") == {
        "b/photo": "",
        "b/self": LINKED_BACK,
        "b/up": LINKED_BACK,
        "b/top/a": LINKED_BACK,
    }


def test_links_to_each_other_end(tmp_path):
    touch(tmp_path, "a/1", "b/2")
    (tmp_path / "a" / "b").symlink_to("../b")
    (tmp_path / "b" / "a").symlink_to("../a")
    assert found(tmp_path) == {
        "a/1": "",
        "a/b/2": "",
        "a/b/a": LINKED_BACK,
        "b/2": "",
        "b/a/1": "",
        "b/a/b": LINKED_BACK,
    }


def test_what_cannot_be_had_is_said(tmp_path):
    (tmp_path / "gone").symlink_to("nothing")
    (tmp_path / "itself").symlink_to("itself")
    os.mkfifo(tmp_path / "pipe")
    assert found(tmp_path) == {"gone": DEAD_LINK, "itself": DEAD_LINK, "pipe": NOT_A_FILE}


def test_folder_that_may_not_be_read_is_said(tmp_path, monkeypatch):
    touch(tmp_path, "closed/a", "b")
    scandir = os.scandir

    def refused(path):
        if Path(path).name == "closed":
            raise PermissionError(path)
        return scandir(path)

    monkeypatch.setattr(walking.os, "scandir", refused)  # Root, who may run this, may read every folder.
    assert found(tmp_path) == {"b": "", "closed": UNREADABLE}


@pytest.mark.parametrize("through", ["straight", "link"])
def test_folder_left_out_is_known_also_behind_a_link(tmp_path, through):
    touch(tmp_path, "out/a", "in/b")
    (tmp_path / "in" / "link").symlink_to("../out")
    folder = tmp_path / "in" if through == "link" else tmp_path
    assert "a" not in {Path(name).name for name in found(folder, exclude=tmp_path / "out")}
