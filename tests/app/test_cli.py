"""`python -m app`: the commands in this process, and the service as a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from app import __main__ as command
from app.__main__ import cli, plan
from tests.portraits import pixels, plain, png, portrait
from tests.processes import PATIENCE_S, serving


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tiny_artifact: Path) -> CliRunner:
    monkeypatch.setenv("MATTE_MODEL_DIR", str(tiny_artifact))
    monkeypatch.setenv("MATTE_MAX_BATCH_SIZE", "2")
    monkeypatch.setenv("COLUMNS", "200")
    return CliRunner()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    for index, name in enumerate(["a.png", "b.jpg", "inner/a.png"]):
        (folder / name).write_bytes(png(plain(50 * (index + 1))))
    (folder / "notes.txt").write_text("not a photo")
    return folder


def test_folder_is_matted_with_its_structure(runner: CliRunner, photos: Path, tmp_path: Path) -> None:
    result = runner.invoke(cli, ["matte", str(photos), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    written = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*"))
    assert written == ["a.png", "b.png", "inner/a.png"]
    for name, value in (("a.png", 50), ("b.png", 100), ("inner/a.png", 150)):
        # bfloat16 may move a value by two steps.
        assert abs(int(pixels((tmp_path / "out" / name).read_bytes()).mean()) - value) <= 2
    assert "3/3" in result.output
    assert "images/s" in result.output
    # Alpha is the grey value: below 128 that is no foreground.
    assert "nobody was found in 2:" in result.output


def test_high_quality_is_the_mean_with_the_mirror_image(runner: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(png(portrait()))
    mattes = {}
    for quality in ("standard", "high"):
        out = tmp_path / quality
        arguments = ["matte", str(tmp_path / "p.png"), "-o", str(out), "--quality", quality]
        result = runner.invoke(cli, arguments)
        assert result.exit_code == 0, result.output
        mattes[quality] = pixels((out / "p.png").read_bytes()).astype(int)
    # The tiny network sees each pixel alone, so the mirror image adds nothing but bfloat16's noise.
    assert np.abs(mattes["high"] - mattes["standard"]).max() <= 2


def test_cutout_is_rgba_with_the_colours_of_the_photo(runner: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(png(portrait()))
    result = runner.invoke(
        cli, ["matte", str(tmp_path / "p.png"), "-o", str(tmp_path / "out"), "--output", "cutout"]
    )
    assert result.exit_code == 0, result.output
    rgba = pixels((tmp_path / "out" / "p.png").read_bytes())
    assert rgba.shape == (60, 80, 4)
    assert np.array_equal(rgba[..., :3], portrait())


def test_failures_are_listed_and_the_rest_is_written(runner: CliRunner, photos: Path, tmp_path: Path) -> None:
    (photos / "b.jpg").write_bytes(b"\xff\xd8\xffnot a photo")
    (photos / "empty.webp").touch()
    result = runner.invoke(cli, ["matte", str(photos), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "2 of 4 failed" in result.output
    assert "b.jpg" in result.output
    assert "truncated or damaged" in result.output
    assert "empty.webp" in result.output
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.*")) == ["a.png", "a.png"]


def test_nothing_to_do_is_an_error(runner: CliRunner, tmp_path: Path) -> None:
    result = runner.invoke(cli, ["matte", str(tmp_path), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "no .jpg" in result.output


def test_model_that_is_missing_is_said_in_one_line(
    runner: CliRunner, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MATTE_MODEL_DIR", str(tmp_path / "none"))
    result = runner.invoke(cli, ["matte", str(photos), "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "no such model directory" in result.output
    assert "Traceback" not in result.output


def test_interruption_ends_cleanly(
    runner: CliRunner, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_target: Path, _data: bytes) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def leave(code: int) -> NoReturn:
        raise SystemExit(code)

    # Shells start background jobs with SIGINT ignored, test runs among them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(command, "_write", interrupt)
    monkeypatch.setattr(command, "_leave", leave)
    result = runner.invoke(cli, ["matte", str(photos), "-o", str(tmp_path / "out")])
    assert result.exit_code == 130
    assert "interrupted" in result.output


def test_inputs_of_one_stem_get_a_file_each(tmp_path: Path) -> None:
    names = ["a.jpg", "a.png", "A.webp", "x/a.jpg", "y/a.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    jobs = plan([tmp_path / name for name in names], tmp_path / "out")
    assert [target.name for _, target in jobs] == [
        "a.png",
        "a.png.png",
        "A.webp.png",
        "a.jpg.png",
        "a.jpg-2.png",
    ]


def test_no_input_is_ever_overwritten(tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg", "b.png"):
        (tmp_path / name).touch()
    jobs = plan([tmp_path], tmp_path)
    sources, targets = zip(*jobs, strict=True)
    assert not set(sources) & set(targets)
    assert len(set(targets)) == 3


def test_photo_that_is_named_twice_is_done_once(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert len(plan([tmp_path, tmp_path / "a.png"], tmp_path / "out")) == 1


def test_results_of_an_earlier_run_inside_the_folder_are_no_input(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in ("a.png", "out/a.png"):
        (tmp_path / name).touch()
    assert plan([tmp_path], tmp_path / "out") == [(tmp_path / "a.png", tmp_path / "out" / "a.png")]


@pytest.mark.parametrize("arguments", [["serve"], ["matte", ".", "-o", "out"]])
def test_unknown_setting_is_refused(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("MATTE_MAX_QUEU", "4")
    result = runner.invoke(cli, arguments)
    assert result.exit_code == 1
    assert "unknown setting: MATTE_MAX_QUEU" in result.output


def test_service_whose_model_cannot_load_stops_with_the_reason(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MATTE_MODEL_DIR", str(tmp_path / "none"))
    result = runner.invoke(cli, ["serve", "--port", "0"])
    assert result.exit_code == 1
    assert "no such model directory" in result.stderr
    assert "Traceback" not in result.output


def test_taken_port_is_said_before_the_model_loads(runner: CliRunner) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = runner.invoke(cli, ["serve", "--port", str(taken.getsockname()[1])])
    assert result.exit_code == 1
    assert "Address already in use" in result.stderr


def inside(client: httpx.Client) -> float:
    page = client.get("/metrics").text
    return float(page.split("\nmatte_inflight ")[1].split("\n")[0])


def test_sigterm_under_load_finishes_accepted_requests_and_exits_0(tiny_artifact: Path) -> None:
    # Five photos of 12 megapixels, decoded by one thread, so they are inside when the signal comes.
    waiting = {"MATTE_CPU_THREADS": "1", "MATTE_MAX_BATCH_SIZE": "8", "MATTE_API_KEYS": "k"}
    with (
        serving(tiny_artifact, **waiting) as (process, address),
        ThreadPoolExecutor(5) as pool,
        httpx.Client(base_url=address, headers={"X-Api-Key": "k"}, timeout=PATIENCE_S) as client,
    ):
        values = [10, 60, 110, 160, 210]
        photos = [png(plain(value, 3_000, 4_000)) for value in values]
        posts = [pool.submit(client.post, "/v1/matte", files={"image": photo}) for photo in photos]
        deadline = time.monotonic() + PATIENCE_S
        while inside(client) < 5:
            assert time.monotonic() < deadline
        process.child.send_signal(signal.SIGTERM)
        answers = [post.result() for post in posts]
        assert [answer.status_code for answer in answers] == [200] * 5
        for answer, value in zip(answers, values, strict=True):
            assert abs(int(pixels(answer.content).mean()) - value) <= 2  # bfloat16
        assert process.child.wait(PATIENCE_S) == 0
        process.reader.join()
        requests = [line for line in process.lines if line["message"] == "request"]
        assert sum(line["route"] == "/v1/matte" for line in requests) == 5
        assert all("request_id" in line for line in requests)


def test_ctrl_c_stops_an_idle_service_with_0(tiny_artifact: Path) -> None:
    with serving(tiny_artifact, MATTE_MAX_BATCH_SIZE="1") as (process, address):
        assert httpx.get(f"{address}/readyz").status_code == 200
        process.child.send_signal(signal.SIGINT)
        assert process.child.wait(PATIENCE_S) == 0


def test_sigterm_while_the_model_loads_ends_at_once_with_0(tiny_artifact: Path) -> None:
    with serving(tiny_artifact, ready=False) as (process, address):
        assert httpx.get(f"{address}/healthz").status_code == 200
        process.child.send_signal(signal.SIGTERM)
        assert process.child.wait(PATIENCE_S) == 0
        process.reader.join()
        assert "ready" not in [line["message"] for line in process.lines]


def test_refused_uploads_get_their_answers_over_a_real_connection(tiny_artifact: Path) -> None:
    limits = {"MATTE_MAX_BATCH_SIZE": "1", "MATTE_MAX_UPLOAD_BYTES": "1000000"}
    with serving(tiny_artifact, **limits) as (_, address):
        answers = [
            httpx.post(f"{address}/v1/matte", files={"image": b"x" * size}, timeout=PATIENCE_S)
            for size in (1_100_000, 3_000_000, 30_000_000)
        ]
    assert [answer.status_code for answer in answers] == [413] * 3
    assert {answer.headers["connection"] for answer in answers} == {"close"}
