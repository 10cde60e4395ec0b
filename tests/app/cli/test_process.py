"""`matte` and `cutout` from the arguments to the last line, with a worker that needs no model."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.__main__ import cli
from app.cli import files
from app.files.left_out import READ
from tests.support.images import jpeg, png, portrait


def written(out: Path) -> dict[str, bytes]:
    """All results; the journal, which is hidden, is none."""
    found = (path for path in out.rglob("*.*") if not path.name.startswith("."))
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in found}


def flat(text: str) -> str:
    return " ".join(text.split())


def test_folder_is_done_with_its_structure(runner, maker, folder, tmp_path):
    result = runner.invoke(cli, ["matte", str(folder), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert written(tmp_path / "out") == {
        "a.png": b"of a.jpg",
        "b.png": b"of b.png",
        "inner/c.png": b"of inner/c.webp",
    }
    assert "matting" in result.output
    assert "3/3" in result.output
    assert "images/s" in result.output
    assert f"3 written to {tmp_path / 'out'}" in result.output
    assert maker.closed == 1


def test_what_is_done_already_is_skipped_without_a_model(runner, maker, folder, tmp_path):
    arguments = ["matte", str(folder), "-o", str(tmp_path / "out")]
    runner.invoke(cli, arguments)
    (folder / "d.jpg").write_bytes(b"d")
    result = runner.invoke(cli, arguments)
    assert result.exit_code == 0
    assert "1 written to" in result.output
    assert "3 skipped, done already (--overwrite makes them anew)" in result.output
    assert maker.done.count(b"a.jpg") == 1
    result = runner.invoke(cli, arguments)
    assert "0 written to" in result.output
    assert maker.started == 2
    assert maker.closed == 3


def test_overwrite_makes_all_anew(runner, maker, folder, tmp_path):
    arguments = ["matte", str(folder), "-o", str(tmp_path / "out")]
    runner.invoke(cli, arguments)
    result = runner.invoke(cli, [*arguments, "--overwrite"])
    assert "3 written" in result.output
    assert "skipped" not in result.output


def test_other_options_or_another_model_make_all_anew(runner, maker, folder, tmp_path):
    arguments = ["cutout", str(folder), "-o", str(tmp_path / "out")]
    runner.invoke(cli, arguments)
    assert "3 written" in runner.invoke(cli, [*arguments, "--background", "red"]).output
    assert "3 skipped" in runner.invoke(cli, [*arguments, "--background", "red"]).output
    maker.name = "maker@2"
    assert "3 written" in runner.invoke(cli, [*arguments, "--background", "red"]).output


def test_failures_are_listed_and_the_rest_is_written(runner, maker, folder, tmp_path):
    (folder / "[b].jpg").write_bytes(b"bad")
    result = runner.invoke(cli, ["matte", str(folder), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "1 of 4 failed" in result.output
    assert "[b].jpg" in result.output
    assert "it is [damaged]" in result.output
    assert "3 written" in result.output
    assert len(written(tmp_path / "out")) == 3


def test_what_failed_is_tried_again_by_the_next_run(runner, maker, folder, tmp_path):
    arguments = ["matte", str(folder), "-o", str(tmp_path / "out")]
    (folder / "b.png").write_bytes(b"bad")
    runner.invoke(cli, arguments)
    result = runner.invoke(cli, arguments)
    assert result.exit_code == 1
    assert "1 of 1 failed" in result.output
    assert "2 skipped" in result.output


def test_photos_without_a_person_are_named(runner, maker, tmp_path):
    for number in range(7):
        (tmp_path / f"{number}[i].jpg").write_bytes(b"nobody")
    result = runner.invoke(cli, ["matte", str(tmp_path), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0
    assert "nobody was found in 7:" in result.output
    assert all(str(tmp_path / f"{number}[i].jpg") in result.output for number in range(7))
    (tmp_path / "7[i].jpg").write_bytes(b"bad")
    runner.env["FORCE_COLOR"] = "1"  # As on a terminal, where a few names are enough.
    result = runner.invoke(cli, ["matte", str(tmp_path), "-o", str(tmp_path / "out"), "--overwrite"])
    assert "[i].jpg …" in flat(result.output)


def test_work_that_ends_says_why(runner, maker, folder, tmp_path):
    (folder / "a.jpg").write_bytes(b"hopeless")
    result = runner.invoke(cli, ["matte", str(folder), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "given up: no such option" in result.output
    assert maker.closed == 1


def test_nothing_to_do_is_an_error(runner, maker, tmp_path):
    result = runner.invoke(cli, ["matte", str(tmp_path), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "no photo found" in result.output
    assert maker.started == 0


def test_paths_that_do_not_go_together_are_an_error(runner, maker, tmp_path):
    result = runner.invoke(cli, ["matte", str(tmp_path / "none.jpg"), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "none.jpg: no such file or folder" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("columns", ["20", "200"])
def test_names_are_whole_where_no_terminal_is(runner, maker, tmp_path, columns):
    folder = tmp_path / "/".join(["a folder of a rather long name"] * 5)
    (folder).mkdir(parents=True)
    bad, nobody = folder / "bad.jpg", folder / "nobody.jpg"
    bad.write_bytes(b"bad")
    nobody.write_bytes(b"nobody")
    runner.env["COLUMNS"] = columns
    result = runner.invoke(cli, ["matte", str(tmp_path), "-o", str(tmp_path / "out")])
    lines = result.output.splitlines()
    assert f"{bad}: it is [damaged]" in lines
    assert f"nobody was found in 1: {nobody}" in lines


def test_failures_are_listed_for_scripts(runner, maker, folder, tmp_path):
    (folder / "[b].jpg").write_bytes(b"bad")
    (folder / "gone.jpg").symlink_to(folder / "a.jpg")
    listed = tmp_path / "new" / "failures.jsonl"
    arguments = ["matte", str(folder), "-o", str(tmp_path / "out"), "--failures", str(listed)]
    assert runner.invoke(cli, arguments).exit_code == 1
    assert [json.loads(line) for line in listed.read_text().splitlines()] == [
        {"path": str(folder / "[b].jpg"), "code": "failed_to_read_image", "detail": "it is [damaged]"}
    ]
    (folder / "[b].jpg").write_bytes(b"good")
    assert runner.invoke(cli, arguments).exit_code == 0
    assert listed.read_text() == ""


def test_failure_of_a_single_photo_is_listed_too(runner, maker, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"bad")
    listed = tmp_path / "failures.jsonl"
    arguments = ["matte", str(tmp_path / "a.jpg"), "-o", str(tmp_path / "a.png"), "--failures", str(listed)]
    assert runner.invoke(cli, arguments).exit_code == 1
    assert json.loads(listed.read_text())["path"] == str(tmp_path / "a.jpg")


def test_list_of_failures_never_takes_a_photos_place(runner, maker, folder, tmp_path):
    arguments = [
        "matte",
        "--failures",
        str(folder / "a.jpg"),
        str(folder / "b.png"),
        "-o",
        str(tmp_path / "out"),
    ]
    result = runner.invoke(cli, arguments)
    assert result.exit_code == 1
    assert "is a photo's name" in result.output
    assert (folder / "a.jpg").read_bytes() == b"a.jpg"


def test_list_of_failures_that_cannot_be_begun_is_an_error(runner, maker, folder, tmp_path):
    (tmp_path / "file").touch()
    listed = tmp_path / "file" / "failures.jsonl"
    arguments = ["matte", str(folder), "-o", str(tmp_path / "out"), "--failures", str(listed)]
    result = runner.invoke(cli, arguments)
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    assert maker.started == 0


def test_what_is_left_out_is_told(runner, maker, folder, tmp_path):
    for name in ("d.nef", "e.NEF", "f.psd", "g.jxl"):
        (folder / name).write_bytes(b"x")
    (folder / "notes.txt").unlink()
    result = runner.invoke(cli, ["matte", str(folder), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0
    assert "4 files left out: 2 .nef, 1 .psd, 1 .jxl" in result.output
    assert "3 written" in result.output


def test_where_nothing_but_that_is_there_it_is_an_error(runner, maker, tmp_path):
    for name in ("d.nef", "e.NEF", "f.psd"):
        (tmp_path / name).write_bytes(b"x")
    result = runner.invoke(cli, ["matte", str(tmp_path), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert f"no photo found; 3 files left out: 2 .nef, 1 .psd; {READ}" in result.output
    assert maker.started == 0


@pytest.mark.parametrize("command", ["matte", "cutout", "cutout --format jpg", "cutout --format zip"])
def test_one_folder_for_photos_and_results_does_not_grow(runner, maker, folder, command):
    for turn in range(3):
        result = runner.invoke(cli, [*command.split(), str(folder), "-o", str(folder)])
        assert result.exit_code == 0, result.output
        assert ("3 written" if turn == 0 else "3 skipped") in result.output
        assert ("made by an earlier run" in result.output) is (turn > 0 and "zip" not in command)
        files_there = [path for path in folder.rglob("*.*") if path.is_file() and path.name[0] != "."]
        assert len(files_there) == 4 + 3


def test_result_that_was_written_right_before_a_crash_is_no_photo(runner, maker, folder, monkeypatch):
    """Whatever was still to be done behind it."""
    replace = Path.replace

    def crash(path: Path, target: Path) -> None:
        replace(path, target)
        raise OSError("crash")

    monkeypatch.setattr(Path, "replace", crash)
    assert runner.invoke(cli, ["matte", str(folder), "-o", str(folder)]).exit_code == 1
    monkeypatch.setattr(Path, "replace", replace)
    assert "made by an earlier run" in runner.invoke(cli, ["matte", str(folder), "-o", str(folder)]).output
    assert sorted(path.name for path in folder.rglob("*.png")) == ["a.png", "b.png", "b.png.png", "c.png"]


def test_linked_photos_and_folders_get_results(runner, maker, folder, tmp_path):
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "d.jpg").write_bytes(b"d")
    (folder / "link").symlink_to("../else")
    (folder / "e.jpg").symlink_to("a.jpg")
    result = runner.invoke(cli, ["matte", str(folder), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0
    assert set(written(tmp_path / "out")) == {"a.png", "b.png", "inner/c.png", "e.png", "link/d.png"}


@pytest.mark.parametrize("out", ["-", "x.png"])
def test_two_pictures_on_standard_input_are_refused(runner, maker, tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(cli, ["matte", "-", "-o", out], input=png(portrait()) + jpeg(portrait()))
    assert result.exit_code == 1
    assert result.stdout_bytes == b""
    assert "more than one picture came from standard input" in result.stderr
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["https://example.com/a.jpg", "-o", "x.png"], "https://example.com/a.jpg: nothing is fetched"),
        (["a.jpg", "-o", "x.heic"], "x.heic: no .heic file is written"),
        (["a.jpg", "-o", "x.psd"], "x.psd: no .psd file is written"),
    ],
)
def test_what_cannot_be_meant_is_said_and_nothing_made(
    runner, maker, tmp_path, monkeypatch, arguments, problem
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"a")
    result = runner.invoke(cli, ["cutout", *arguments])
    assert result.exit_code == 1
    assert problem in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_single_photo_goes_to_the_file_that_is_named(runner, maker, folder, tmp_path):
    target = tmp_path / "new" / "x.webp"
    for _ in range(2):  # A file that is named is written, whether it is there or not.
        result = runner.invoke(cli, ["cutout", str(folder / "a.jpg"), "-o", str(target)])
        assert result.exit_code == 0, result.output
    assert target.read_bytes() == b"of a.jpg"
    assert os.listdir(target.parent) == ["x.webp"]  # noqa: PTH208 - hidden files too
    assert maker.options.format == "webp"
    assert len(maker.done) == 2


def test_standard_input_goes_to_standard_output(runner, maker):
    result = runner.invoke(cli, ["matte", "-", "-o", "-"], input=b"\xff\xd8photo")
    assert result.exit_code == 0, result.output
    assert result.stdout_bytes == b"of \xff\xd8photo"
    assert "1/1" in result.stderr


def test_standard_output_stays_empty_when_a_photo_fails(runner, maker):
    result = runner.invoke(cli, ["matte", "-", "-o", "-"], input=b"bad")
    assert result.exit_code == 1
    assert result.stdout_bytes == b""
    assert "it is [damaged]" in result.stderr


def test_matte_has_no_format_but_png(runner, maker, folder, tmp_path):
    result = runner.invoke(cli, ["matte", str(folder / "a.jpg"), "-o", str(tmp_path / "m.jpg")])
    assert result.exit_code == 1
    assert "m.jpg: what is written is .png; name a .png file" in result.output


def test_folder_gets_the_suffix_of_the_format(runner, maker, folder, tmp_path):
    runner.invoke(cli, ["cutout", str(folder), "-o", str(tmp_path / "out"), "--format", "zip"])
    assert set(written(tmp_path / "out")) == {"a.zip", "b.zip", "inner/c.zip"}


def test_interruption_leaves_whole_files_and_130(runner, maker, folder, tmp_path, monkeypatch):
    def interrupt(_target: Path, _data: bytes, _note: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(files, "write", interrupt)
    result = runner.invoke(cli, ["matte", str(folder), "-o", str(tmp_path / "out")])
    assert result.exit_code == 130
    assert "interrupted; the files written so far are complete" in result.output
    assert maker.closed == 1


def interrupt_at(photo: bytes):
    def interrupt(data: bytes) -> None:
        if data == photo:
            os.kill(os.getpid(), signal.SIGINT)

    return interrupt


@pytest.fixture
def watching(runner: CliRunner, folder: Path, tmp_path: Path):
    return lambda *more: runner.invoke(
        cli, ["matte", str(folder), "-o", str(tmp_path / "out"), "--watch", *more]
    )


def test_watch_takes_what_is_there_and_what_comes_until_ctrl_c(watching, maker, folder, tmp_path):
    def come(data: bytes) -> None:
        if data == b"inner/c.webp":
            (folder / "late.jpg").write_bytes(b"late")
        interrupt_at(b"late")(data)

    maker.before_each = come
    result = watching()
    assert result.exit_code == 0, result.output
    assert set(written(tmp_path / "out")) == {"a.png", "b.png", "inner/c.png", "late.png"}
    assert f"{folder / 'a.jpg'}: {tmp_path / 'out' / 'a.png'}" in result.output
    assert "stopping" in result.output
    assert "4 written to" in result.output


def test_watch_skips_what_is_done_already(watching, maker, folder):
    maker.before_each = interrupt_at(b"inner/c.webp")
    watching()
    (folder / "z.jpg").write_bytes(b"z")
    maker.before_each = interrupt_at(b"z")
    result = watching()
    assert "1 written" in result.output
    assert "3 skipped" in result.output
    result = watching("--overwrite")
    assert "4 written" in result.output


def test_watch_tells_failures_at_once_and_ends_with_1(watching, maker, folder):
    (folder / "a.jpg").write_bytes(b"bad")
    maker.before_each = interrupt_at(b"inner/c.webp")
    result = watching()
    assert result.exit_code == 1
    assert f"{folder / 'a.jpg'}: it is [damaged]" in result.output
    assert "1 failed" in result.output


def test_watch_tells_what_it_leaves_out_once(watching, maker, folder, tmp_path):
    (folder / "x.nef").write_bytes(b"x")

    def come(data: bytes) -> None:
        if data == b"inner/c.webp":
            (folder / "y.psd").write_bytes(b"y")
            (folder / "later.jpg").write_bytes(b"later")
        if data == b"later":
            (folder / "last.jpg").write_bytes(b"last")
        interrupt_at(b"last")(data)

    maker.before_each = come
    result = watching()
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    first = [line for line in lines if "2 files left out" in line]
    assert len(first) == 1
    assert first[0].startswith("2 files left out: 1 .txt, 1 .nef (")
    assert str(folder / "x.nef") in first[0]
    assert lines.count(f"1 file left out: 1 .psd ({folder / 'y.psd'}); {READ}") == 1
    assert lines[-2] == f"3 files left out: 1 .txt, 1 .nef, 1 .psd; {READ}"


def test_watch_knows_results(runner, maker, folder, tmp_path):
    runner.invoke(cli, ["matte", str(folder), "-o", str(folder)])
    maker.before_each = interrupt_at(b"inner/c.webp")
    arguments = ["cutout", str(folder), "-o", str(tmp_path / "out"), "--watch"]
    result = runner.invoke(cli, arguments)
    assert "3 made by an earlier run" in result.output
    assert set(written(tmp_path / "out")) == {"a.png", "b.png", "inner/c.png"}


def test_watch_lists_failures_as_they_come(watching, maker, folder, tmp_path):
    listed = tmp_path / "failures.jsonl"
    (folder / "a.jpg").write_bytes(b"bad")
    seen: list[str] = []

    def come(data: bytes) -> None:
        if data == b"inner/c.webp":
            (folder / "later.jpg").write_bytes(b"later")
        if data == b"later":
            seen.append(listed.read_text())
        interrupt_at(b"later")(data)

    maker.before_each = come
    assert watching("--failures", str(listed)).exit_code == 1
    assert json.loads(seen[0])["path"] == str(folder / "a.jpg")


def test_watch_without_a_folder_is_an_error(runner, maker, folder, tmp_path):
    result = runner.invoke(cli, ["matte", str(folder / "a.jpg"), "-o", str(tmp_path / "out"), "--watch"])
    assert result.exit_code == 1
    assert "--watch needs a folder" in result.output
    assert maker.started == 0
