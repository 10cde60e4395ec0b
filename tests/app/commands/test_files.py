"""Which photo goes into which file."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from app.commands import files
from app.commands.files import STDIO, Job, PathsError, Plan, format_of, single_target


def touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def plan(paths: list[Path], out: Path, suffix: str = ".png", *, recursive: bool = True) -> list[Job]:
    return Plan(paths, out, suffix, recursive=recursive).look()


def test_folders_keep_their_structure(folder, tmp_path):
    out = tmp_path / "out"
    assert plan([folder], out, ".webp") == [
        (folder / "a.jpg", out / "a.webp"),
        (folder / "b.png", out / "b.webp"),
        (folder / "inner" / "c.webp", out / "inner" / "c.webp"),
    ]


def test_folders_inside_are_left_out_on_request(folder, tmp_path):
    assert [photo.name for photo, _ in plan([folder], tmp_path / "out", recursive=False)] == [
        "a.jpg",
        "b.png",
    ]


def test_inputs_of_one_stem_get_a_file_each(tmp_path):
    paths = touch(tmp_path, "a.jpg", "a.png", "A.webp", "x/a.jpg", "y/a.jpg")
    assert [target.name for _, target in plan(paths, tmp_path / "out")] == [
        "a.png",
        "a.png.png",
        "A.webp.png",
        "a.jpg.png",
        "a.jpg-2.png",
    ]


def test_no_input_is_ever_overwritten(tmp_path):
    touch(tmp_path, "a.png", "b.jpg", "b.png")
    sources, targets = zip(*plan([tmp_path], tmp_path), strict=True)
    assert not set(sources) & set(targets)
    assert len(set(targets)) == 3


def test_photo_that_is_named_twice_is_done_once(tmp_path):
    (photo,) = touch(tmp_path, "a.png")
    assert len(plan([tmp_path, photo], tmp_path / "out")) == 1


def test_results_of_an_earlier_run_inside_the_folder_are_no_input(tmp_path):
    touch(tmp_path, "a.png", "out/a.png")
    assert plan([tmp_path], tmp_path / "out") == [(tmp_path / "a.png", tmp_path / "out" / "a.png")]


def test_results_may_lie_beside_the_folder_of_the_photos(tmp_path):
    touch(tmp_path, "photos/a.jpg", "a.png")
    assert plan([tmp_path / "photos"], tmp_path) == [(tmp_path / "photos" / "a.jpg", tmp_path / "a.png")]


def test_hidden_files_are_no_photos_unless_named(tmp_path):
    hidden = touch(tmp_path, "._a.jpg", ".thumbnails/a.jpg")
    assert plan([tmp_path], tmp_path / "out") == []
    assert len(plan(hidden, tmp_path / "out")) == 2


def test_folder_that_may_be_listed_but_not_entered_is_passed_by(tmp_path, monkeypatch):
    touch(tmp_path, "closed/a.jpg", "b.jpg")
    is_file = Path.is_file

    def refused(path: Path) -> bool:
        if path.parent.name == "closed":
            raise PermissionError(path)
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refused)  # Root, who may run this, may enter every folder.
    assert [photo.name for photo, _ in plan([tmp_path], tmp_path / "out")] == ["b.jpg"]


def test_photo_keeps_its_file_when_others_come(tmp_path):
    touch(tmp_path, "in/b.webp")
    growing = Plan([tmp_path / "in"], tmp_path / "out")
    assert [target.name for _, target in growing.look()] == ["b.png"]
    touch(tmp_path, "in/a.jpg", "in/b.jpg")
    names = {photo.name: target.name for photo, target in growing.look()}
    assert names == {"a.jpg": "a.png", "b.jpg": "b.jpg.png", "b.webp": "b.png"}


def test_result_of_a_look_is_no_photo_of_the_next(tmp_path):
    touch(tmp_path, "a.jpg")
    growing = Plan([tmp_path], tmp_path)
    ((_, target),) = growing.look()
    target.touch()
    assert growing.look() == [(tmp_path / "a.jpg", target)]


def test_single_photo_may_name_its_file(tmp_path):
    (photo,) = touch(tmp_path, "a.jpg")
    for name in ("x.png", "x.JPG", "x.zip", "new/x.webp"):
        assert single_target([photo], tmp_path / name) == tmp_path / name
    for name in ("x", "v1.2", "a/b"):
        assert single_target([photo], tmp_path / name) is None
    (tmp_path / "folder.png").mkdir()
    assert single_target([photo], tmp_path / "folder.png") is None
    touch(tmp_path, "there")
    assert single_target([photo], tmp_path / "there") == tmp_path / "there"


def test_standard_input_goes_to_a_file_or_to_standard_output(tmp_path):
    for out in (STDIO, tmp_path / "x.png", tmp_path / "x"):
        assert single_target([STDIO], out) == out
    (photo,) = touch(tmp_path, "a.jpg")
    assert single_target([photo], STDIO) == STDIO


@pytest.mark.parametrize(
    ("paths", "out", "problem"),
    [
        (["-", "a.jpg"], "x.png", "stands alone"),
        (["a.jpg", "b.jpg"], "-", "takes a single photo"),
        (["."], "-", "takes a single photo"),
        (["-"], ".", "needs a file"),
        (["a.jpg", "b.jpg"], "x.png", "several photos need a folder"),
        (["."], "x.png", "several photos need a folder"),
        (["."], "a.jpg", "several photos need a folder"),
        (["a.jpg"], "./a.jpg", "never written over"),
        (["none.jpg"], "x.png", "none.jpg: no such file or folder"),
    ],
)
def test_paths_that_do_not_go_together_are_refused(tmp_path, monkeypatch, paths, out, problem):
    touch(tmp_path, "a.jpg", "b.jpg")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PathsError, match=problem):
        single_target([Path(path) for path in paths], Path(out))


@pytest.mark.parametrize(
    ("target", "asked", "expected"),
    [
        (None, None, "png"),
        (None, "webp", "webp"),
        ("x.JPEG", None, "jpg"),
        ("x.zip", "zip", "zip"),
        ("-", "jpg", "jpg"),
        ("x", None, "png"),
    ],
)
def test_format_is_what_is_asked_for_or_what_the_name_says(target, asked, expected):
    assert format_of(target and Path(target), asked) == expected


def test_name_and_format_that_contradict_each_other_are_refused():
    with pytest.raises(PathsError, match=r"x\.jpg is not the name of a png file"):
        format_of(Path("x.jpg"), "png")


def test_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / "new" / "a.png"
    files.write(target, b"first")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        files.write(target, b"second")
    assert target.read_bytes() == b"first"


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def test_terminals_neither_give_nor_take_pictures(monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO()))
    monkeypatch.setattr(sys, "stdout", Terminal(io.BytesIO()))
    with pytest.raises(PathsError, match="comes from standard input"):
        files.refuse_terminals(STDIO, Path("x.png"))
    with pytest.raises(PathsError, match="not written to a terminal"):
        files.refuse_terminals(Path("a.jpg"), STDIO)
    files.refuse_terminals(Path("a.jpg"), Path("x.png"))
