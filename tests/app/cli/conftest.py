"""Photos that are no photos, and a worker that needs no model."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import exit, process, watch
from app.cli.photo_options import PhotoOptions
from app.cli.processors import Done, PhotoFailed, ProcessingStopped


def touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


class Maker:
    """Makes `of <photo>`; photos named by their bytes fail, or have nobody in them."""

    def __init__(self) -> None:
        self.concurrency = 2
        self.name = "maker@1"
        self.options: PhotoOptions | None = None
        self.started = 0
        self.closed = 0
        self.done: list[bytes] = []
        self.before_each: Callable[[bytes], None] = lambda _data: None

    async def model(self) -> str:
        return self.name

    async def start(self) -> None:
        self.started += 1

    async def work(self, data: bytes) -> Done:
        self.before_each(data)
        if data == b"bad":
            raise PhotoFailed("it is [damaged]", "failed_to_read_image")
        if data == b"hopeless":
            raise ProcessingStopped("no such option")
        self.done.append(data)
        return Done(b"of " + data, data != b"nobody")

    async def close(self) -> None:
        self.closed += 1


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch) -> Maker:
    made = Maker()

    def worker(_order: process.ProcessOptions, options: PhotoOptions, _console: object) -> Maker:
        made.options = options
        return made

    monkeypatch.setattr(process, "_worker", worker)
    return made


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    def leave(code: int) -> None:
        raise SystemExit(code)

    # Shells start background jobs with SIGINT ignored, test runs among them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(exit, "leave", leave)
    monkeypatch.setattr(watch, "LOOK_EVERY_S", 0)
    monkeypatch.setenv("COLUMNS", "200")
    return CliRunner()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files that are taken for photos, one of them in a folder of its own, and one that is not."""
    inner = tmp_path / "photos" / "inner"
    inner.mkdir(parents=True)
    for name in ("a.jpg", "b.png", "inner/c.webp"):
        (inner.parent / name).write_bytes(name.encode())
    (inner.parent / "notes.txt").write_text("not a photo")
    return inner.parent
