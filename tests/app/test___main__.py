"""`python -m app`: what is typed, and what the commands get of it."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.__main__ import cli
from app.cli import frames, process, serve
from app.cli.frame_options import FramesOptions
from app.cli.photo_options import PhotoOptions
from app.cli.process import ProcessOptions, Service
from app.server.supervisor import InferenceProcess, WorkerProcess


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> list[ProcessOptions]:
    given: list[ProcessOptions] = []
    monkeypatch.setattr(process, "run", given.append)
    return given


def invoke(*arguments: str) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output


def test_help_waits_for_no_library():
    program = (
        "import sys; sys.argv = ['app', *sys.argv[1:]]\n"
        "from app.__main__ import cli\n"
        "cli(standalone_mode=False)\n"
        "heavy = {'tensorflow', 'numpy', 'cv2', 'fastapi', 'httpx', 'uvicorn', 'ray', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    for arguments in (["--help"], ["cutout", "--help"], ["frames", "--help"], ["bulk", "--help"]):
        command = [sys.executable, "-c", program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "Usage" in done.stdout


def test_matte_is_a_grey_png_of_this_process(orders):
    invoke("matte", "a.jpg", "b", "-o", "out")
    assert orders == [
        ProcessOptions(
            paths=[Path("a.jpg"), Path("b")],
            out=Path("out"),
            options=PhotoOptions("matte", {"format": "png"}),
        )
    ]


def test_matte_may_be_a_cutout(orders):
    invoke("matte", "a.jpg", "--out-dir", "out", "--output", "cutout", "--quality", "high")
    assert orders[0].options == PhotoOptions("cutout", {"quality": "high", "format": "png"})


def test_cutout_hands_on_every_option(orders, tmp_path):
    (tmp_path / "beach.jpg").write_bytes(b"beach")
    options = {
        "--format": "webp",
        "--background": str(tmp_path / "beach.jpg"),
        "--margin": "10% 20px",
        "--size": "1.5",
        "--shadow": "30",
        "--quality": "high",
        "--url": "http://matte",
        "--concurrency": "3",
        "--api-key": "k",
        "--failures": "failed.jsonl",
    }
    flags = ["--crop", "--no-recursive", "--watch", "--overwrite"]
    invoke("cutout", "a.jpg", "-o", "out", *flags, *(word for pair in options.items() for word in pair))
    assert orders == [
        ProcessOptions(
            paths=[Path("a.jpg")],
            out=Path("out"),
            options=PhotoOptions(
                "cutout",
                {
                    "format": "webp",
                    "background": b"beach",
                    "crop": True,
                    "margin": "10% 20px",
                    "size": "1.5",
                    "shadow": "30",
                    "quality": "high",
                },
            ),
            recursive=False,
            watch=True,
            overwrite=True,
            failures=Path("failed.jsonl"),
            service=Service("http://matte", 3, "k"),
        )
    ]


def test_cutout_leaves_the_rest_to_the_service(orders):
    invoke("cutout", "a.jpg", "-o", "out")
    assert orders == [ProcessOptions(paths=[Path("a.jpg")], out=Path("out"), options=PhotoOptions("cutout"))]


def test_background_may_be_a_colour(orders):
    invoke("cutout", "a.jpg", "-o", "out", "--background", "#ff0")
    assert orders[0].options.given == {"background": "#ff0"}


def test_picture_to_lay_under_must_be_there(orders):
    result = CliRunner().invoke(cli, ["cutout", "a.jpg", "-o", "out", "--background", "none.jpg"])
    assert result.exit_code == 1
    assert "--background cannot be read: none.jpg: No such file" in result.output
    assert not orders


def test_picture_to_lay_under_is_not_fetched(orders):
    result = CliRunner().invoke(cli, ["cutout", "a.jpg", "-o", "out", "--background", "https://x/a.jpg"])
    assert result.exit_code == 1
    assert "https://x/a.jpg: nothing is fetched from addresses" in result.output
    assert not orders


def test_key_is_read_from_the_environment_and_never_shown(orders, monkeypatch):
    monkeypatch.setenv("U2MATTE_API_KEY", "secret")
    invoke("matte", "a.jpg", "-o", "out", "--url", "http://matte")
    assert orders[0].service == Service("http://matte", 8, "secret")
    assert "secret" not in repr(orders[0])
    help_text = CliRunner().invoke(cli, ["matte", "--help"]).output
    assert "U2MATTE_API_KEY" in help_text
    assert "secret" not in help_text


@pytest.mark.parametrize(
    "arguments",
    [
        ["matte", "a.jpg"],
        ["matte", "-o", "out"],
        ["matte", "a.jpg", "-o", "out", "--quality", "best"],
        ["matte", "a.jpg", "-o", "out", "--concurrency", "0"],
        ["cutout", "a.jpg", "-o", "out", "--format", "gif"],
        ["cutout", "a.jpg", "-o", "out", "--blur", "101"],
        ["cutout", "a.jpg", "-o", "out", "--shadow", "-1"],
        ["cutout", "a.jpg", "-o", "out", "--size", "0"],
        ["cutout", "a.jpg", "-o", "out", "--background", "red", "--blur", "5"],
        ["bulk", "in", "out", "--output", "cutout", "--margin", "51%"],
        ["frames"],
        ["frames", "--size", "1280"],
        ["frames", "--size", "1280x720", "--output", "png"],
        ["frames", "--size", "1280x720", "--quality", "best"],
        ["frames", "--size", "1280x720", "--fps", "0"],
        ["serve", "--port", "65536"],
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(orders, arguments):
    assert CliRunner().invoke(cli, arguments).exit_code == 2
    assert not orders


def test_frames_get_their_size_output_and_rate(monkeypatch):
    given: list[FramesOptions] = []
    monkeypatch.setattr(frames, "run", given.append)
    invoke("frames", "--size", "1280x720")
    invoke("frames", "--size", "64x48", "--output", "alpha", "--quality", "high", "--steady", "--fps", "25")
    assert given == [
        FramesOptions(height=720, width=1280, options=PhotoOptions("cutout")),
        FramesOptions(
            height=48,
            width=64,
            options=PhotoOptions("matte", {"quality": "high"}),
            fps=Fraction(25),
            steady=True,
        ),
    ]


def test_serve_gets_its_address(monkeypatch):
    given: list[tuple[object, ...]] = []
    for name in ("serve", "serve_inference"):
        monkeypatch.setattr(serve, name, lambda *arguments: given.append(arguments))
    invoke("serve", "--host", "::1", "--port", "0")
    invoke("serve")
    invoke("serve", "--member", "1/2:7:1:/tmp/x")
    invoke("serve", "--inference", "0/1:2:8")
    worker = WorkerProcess(1, 2, 7, (Path("/tmp/x/inference-0"),))
    assert given == [
        ("::1", 0, None),
        (None, None, None),
        (None, None, worker),
        (InferenceProcess(0, 1, 2, 8),),
    ]
