"""`matte` and `cutout` by the model of this process: a real one, of 32 x 32."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app.__main__ import cli
from app.cli.processors import Done
from app.errors import InvalidOption
from app.imaging.output import Output
from app.pipeline import Pipeline
from model.contract import read_manifest, write_manifest
from tests.support.images import pixels, plain, png, portrait


@pytest.fixture
def local(runner: CliRunner, monkeypatch: pytest.MonkeyPatch, tiny_artifact: Path) -> CliRunner:
    monkeypatch.setenv("MATTE_MODEL_DIR", str(tiny_artifact))
    monkeypatch.setenv("MATTE_MAX_BATCH_SIZE", "2")
    # To choose and prove another takes a second session for every run; that is what test_predictor tests.
    monkeypatch.setenv("MATTE_PRECISION", "float32")
    return runner


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    for index, name in enumerate(["a.png", "b.jpg", "inner/a.png"]):
        (folder / name).write_bytes(png(plain(50 * (index + 1))))
    (folder / "notes.txt").write_text("not a photo")
    return folder


def test_folder_is_matted_with_its_structure(local: CliRunner, photos: Path, tmp_path: Path) -> None:
    result = local.invoke(cli, ["matte", str(photos), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    written = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.png"))
    assert written == ["a.png", "b.png", "inner/a.png"]
    for name, value in (("a.png", 50), ("b.png", 100), ("inner/a.png", 150)):
        assert abs(int(pixels((tmp_path / "out" / name).read_bytes()).mean()) - value) <= 1
    assert "3/3" in result.output
    assert "images/s" in result.output
    # Alpha is the grey value: below 128 that is no foreground.
    assert "nobody was found in 2:" in result.output


def test_high_quality_is_the_mean_with_the_mirror_image(local: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(png(portrait()))
    mattes = {}
    for quality in ("standard", "high"):
        out = tmp_path / quality
        arguments = ["matte", str(tmp_path / "p.png"), "-o", str(out), "--quality", quality]
        result = local.invoke(cli, arguments)
        assert result.exit_code == 0, result.output
        mattes[quality] = pixels((out / "p.png").read_bytes()).astype(int)
    # The tiny network sees each pixel alone, so the mirror image adds nothing but float32's noise.
    assert np.abs(mattes["high"] - mattes["standard"]).max() <= 1


@pytest.mark.parametrize("command", ["matte", "cutout"])
def test_main_subject_alone_is_what_is_written(local: CliRunner, tmp_path: Path, command: str) -> None:
    photo = np.zeros((64, 64, 3), np.uint8)
    photo[8:56, 8:36] = photo[30:50, 46:58] = 255
    (tmp_path / "p.png").write_bytes(png(photo))
    alphas = {}
    for subject in ("all", "main"):
        out = tmp_path / subject
        result = local.invoke(cli, [command, str(tmp_path / "p.png"), "-o", str(out), "--subject", subject])
        assert result.exit_code == 0, result.output
        made = pixels((out / "p.png").read_bytes())
        alphas[subject] = made if command == "matte" else made[..., 3]
    assert alphas["all"][40, 52] > 200
    assert alphas["main"][30:50, 46:58].max() == 0
    assert np.array_equal(alphas["main"][:, :36], alphas["all"][:, :36])


def test_cutout_is_rgba(local: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(png(portrait()))
    result = local.invoke(
        cli, ["matte", str(tmp_path / "p.png"), "-o", str(tmp_path / "out"), "--output", "cutout"]
    )
    assert result.exit_code == 0, result.output
    rgba = pixels((tmp_path / "out" / "p.png").read_bytes())
    assert rgba.shape == (60, 80, 4)


def test_cutout_takes_the_options_of_the_service(local: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(png(portrait()))
    (tmp_path / "sky.png").write_bytes(png(np.full((9, 16, 3), (10, 20, 30), np.uint8)))
    arguments = ["cutout", str(tmp_path / "p.png"), "-o", str(tmp_path / "out.png")]
    result = local.invoke(
        cli, [*arguments, "--background", str(tmp_path / "sky.png"), "--size", "0.0012", "--shadow", "20"]
    )
    assert result.exit_code == 0, result.output
    assert pixels((tmp_path / "out.png").read_bytes()).shape == (30, 40, 3)


def test_option_with_an_impossible_value_ends_the_run_at_once(local: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(png(portrait()))
    arguments = ["cutout", str(tmp_path / "p.png"), "-o", str(tmp_path / "out.png")]
    result = local.invoke(cli, [*arguments, "--background", "nocolour"])
    assert result.exit_code == 2
    assert "`background` is a CSS colour (a name" in result.output
    assert "loading" not in result.output


def test_failures_are_listed_and_the_rest_is_written(local: CliRunner, photos: Path, tmp_path: Path) -> None:
    (photos / "b.jpg").write_bytes(b"\xff\xd8\xffnot a photo")
    (photos / "empty.webp").touch()
    result = local.invoke(cli, ["matte", str(photos), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "2 of 4 failed" in result.output
    assert "b.jpg" in result.output
    assert "truncated or damaged" in result.output
    assert "empty.webp" in result.output
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.png")) == ["a.png", "a.png"]


def test_model_that_is_missing_is_said_in_one_line(
    local: CliRunner, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MATTE_MODEL_DIR", str(tmp_path / "none"))
    result = local.invoke(cli, ["matte", str(photos), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "no such model directory" in result.output
    assert "Traceback" not in result.output


def test_unknown_setting_is_refused(local: CliRunner, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATTE_MAX_QUEU", "4")
    result = local.invoke(cli, ["matte", str(photos), "-o", "out"])
    assert result.exit_code == 1
    assert "unknown setting: MATTE_MAX_QUEU" in result.output


def test_model_that_was_exchanged_makes_all_anew(
    local: CliRunner, photos: Path, tmp_path: Path, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = shutil.copytree(tiny_artifact, tmp_path / "tiny")
    monkeypatch.setenv("MATTE_MODEL_DIR", str(artifact))
    arguments = ["matte", str(photos), "-o", str(tmp_path / "out")]
    assert local.invoke(cli, arguments).exit_code == 0
    assert "3 skipped" in local.invoke(cli, arguments).output
    write_manifest(artifact, replace(read_manifest(artifact), version="2"))
    assert "3 written" in local.invoke(cli, arguments).output


def test_photo_that_the_pipeline_refuses_fails_alone(
    local: CliRunner, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[bytes] = []

    async def refuse_the_first(_pipeline: Pipeline, data: bytes, _output: Output) -> Done:
        done.append(data)
        if len(done) == 1:
            raise InvalidOption("The picture is too long for WebP.")
        return Done(b"a file", True)

    monkeypatch.setattr("app.cli.processors.local_work", refuse_the_first)
    result = local.invoke(cli, ["matte", str(photos), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "too long for WebP" in result.output
    assert len(done) > 1
    assert len(list((tmp_path / "out").rglob("*.png"))) == len(done) - 1
