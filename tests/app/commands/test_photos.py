"""`matte` and `cutout` from the arguments to the last line, with a worker that needs no model."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.__main__ import cli
from app.commands import files


def written(out: Path) -> dict[str, bytes]:
    """All results; the ledger, which is hidden, is none."""
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
    assert "no .jpg" in result.output
    assert maker.started == 0


def test_paths_that_do_not_go_together_are_an_error(runner, maker, tmp_path):
    result = runner.invoke(cli, ["matte", str(tmp_path / "none.jpg"), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "none.jpg: no such file or folder" in result.output
    assert "Traceback" not in result.output


def test_single_photo_goes_to_the_file_that_is_named(runner, maker, folder, tmp_path):
    target = tmp_path / "new" / "x.webp"
    for _ in range(2):  # A file that is named is written, whether it is there or not.
        result = runner.invoke(cli, ["cutout", str(folder / "a.jpg"), "-o", str(target)])
        assert result.exit_code == 0, result.output
    assert target.read_bytes() == b"of a.jpg"
    assert os.listdir(target.parent) == ["x.webp"]  # noqa: PTH208 - hidden files too
    assert maker.wish.format == "webp"
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
    assert "m.jpg is not the name of a png file" in result.output


def test_folder_gets_the_suffix_of_the_format(runner, maker, folder, tmp_path):
    runner.invoke(cli, ["cutout", str(folder), "-o", str(tmp_path / "out"), "--format", "zip"])
    assert set(written(tmp_path / "out")) == {"a.zip", "b.zip", "inner/c.zip"}


def test_interruption_leaves_whole_files_and_130(runner, maker, folder, tmp_path, monkeypatch):
    def interrupt(_target: Path, _data: bytes) -> None:
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


def test_watch_without_a_folder_is_an_error(runner, maker, folder, tmp_path):
    result = runner.invoke(cli, ["matte", str(folder / "a.jpg"), "-o", str(tmp_path / "out"), "--watch"])
    assert result.exit_code == 1
    assert "--watch needs a folder" in result.output
    assert maker.started == 0
