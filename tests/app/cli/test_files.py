"""What is meant by what was typed; whole files."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from app.cli import files
from app.cli.files import STDIO, PathsError, format_of, single_target
from tests.app.cli.conftest import touch


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
        (["-", "a.jpg"], "x.png", "must be the only photo"),
        (["a.jpg", "b.jpg"], "-", "takes a single photo"),
        (["."], "-", "takes a single photo"),
        (["-"], ".", "needs a file"),
        (["a.jpg", "b.jpg"], "x.png", "several photos need a folder"),
        (["."], "x.png", "several photos need a folder"),
        (["."], "a.jpg", "several photos need a folder"),
        (["a.jpg"], "./a.jpg", "never written over"),
        (["none.jpg"], "x.png", "none.jpg: no such file or folder"),
        (["a.jpg", "b.jpg"], "x.tif", "several photos need a folder"),
        (["."], "x.heic", "several photos need a folder"),
        (["https://example.com/a.jpg"], "x.png", "https://example.com/a.jpg: nothing is fetched"),
        (["a.jpg", "s3://bucket/a.jpg"], "x", "s3://bucket/a.jpg: nothing is fetched"),
        (["s3://bucket/a.jpg"], "x", "python -m app bulk read"),
        (["http://x/a.jpg"], "x", "curl -L 'http://x/a.jpg'"),
        (["file:///photos/a.jpg"], "x", "name the file itself: /photos/a.jpg"),
        (["a.jpg"], "s3://bucket/out", "s3://bucket/out: results go to files and folders"),
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


@pytest.mark.parametrize("name", ["x.jxl", "x.tif", "x.TIFF", "x.heic", "x.gif", "x.bmp", "x.apng", "x.pdf"])
@pytest.mark.parametrize("asked", [None, "png"])
@pytest.mark.parametrize("source", ["a.jpg", "-"])
def test_name_of_a_file_that_is_not_written_is_refused_and_no_folder(tmp_path, name, asked, source):
    touch(tmp_path, "a.jpg")
    target = single_target([STDIO if source == "-" else tmp_path / source], tmp_path / name)
    assert target == tmp_path / name
    with pytest.raises(
        PathsError, match=rf"no \{target.suffix} file is written; name a \.png.* file, or a folder"
    ):
        format_of(target, asked)


@pytest.mark.parametrize("name", ["x.jpg", "x.jpe", "x.jfif", "x.JPEG"])
def test_every_name_of_a_jpeg_is_one(name):
    assert format_of(Path(name), None) == "jpg"


def test_folder_that_is_there_may_be_called_anything(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "https:/b.jpg", "scans.tif/c.jpg")
    monkeypatch.chdir(tmp_path)
    assert single_target([Path("a.jpg")], Path("scans.tif")) is None
    assert single_target([Path("https:/b.jpg")], Path("x.png")) == Path("x.png")


def test_file_is_noted_when_it_is_written_and_before_it_can_be_seen(tmp_path):
    seen = []
    files.write(tmp_path / "a.png", b"data", lambda: seen.extend(tmp_path.iterdir()))
    assert [(path.name[0], path.suffix) for path in seen] == [(".", ".part")]


def test_file_that_cannot_be_noted_is_not_written(tmp_path):
    def fails() -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        files.write(tmp_path / "a.png", b"data", fails)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", range(240, 256))
def test_files_of_the_longest_names_are_written(tmp_path, length):
    files.write(tmp_path / ("x" * length), b"data")
    assert (tmp_path / ("x" * length)).read_bytes() == b"data"


def test_what_a_crash_leaves_is_hidden_and_written_over_by_the_next_run(tmp_path, monkeypatch):
    replace = Path.replace
    for _ in range(3):
        monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            files.write(tmp_path / "a.png", b"half")
    (path,) = tmp_path.iterdir()
    assert path.name[0] == "."
    monkeypatch.setattr(Path, "replace", replace)
    files.write(tmp_path / "a.png", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_name_and_format_that_contradict_each_other_are_refused():
    with pytest.raises(PathsError, match=r"x\.jpg: what is written is \.png; name a \.png file"):
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
