"""When a photo that has appeared is taken for whole."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from app.cli import watch
from app.cli.files import PathsError
from app.cli.plan import Job, Plan


class Looks(Plan):
    """Before each look, what somebody does to the folder meanwhile; after the last one it is over."""

    def __init__(self, folder: Path, *steps: Callable[[], object]) -> None:
        super().__init__([folder], folder / "out")
        self._steps = list(steps)
        self._loop = asyncio.get_running_loop()
        self.stopped = asyncio.Event()
        self.made = 0
        self.passed: list[Mapping[Path, str]] = []

    def look(self) -> list[Job]:
        self.made += 1
        self._steps.pop(0)()
        if not self._steps:
            self._loop.call_soon_threadsafe(self.stopped.set)
        return super().look()


def nothing() -> None:
    pass


async def given(looks: Looks) -> list[tuple[int, str]]:
    """(number of the look, photo) for all that is taken for whole."""
    return [
        (looks.made, photo.name)
        async for photo, _ in watch.settled(looks, looks.stopped, looks.passed.append)
    ]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(watch, "LOOK_EVERY_S", 0)


def writes(path: Path, data: bytes) -> Callable[[], object]:
    return lambda: path.write_bytes(data)


async def test_photo_is_given_once_when_it_stands_still(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"a")
    assert await given(Looks(tmp_path, *[nothing] * 5)) == [(2, "a.jpg")]


async def test_photo_that_grows_is_waited_for(tmp_path):
    path = tmp_path / "a.jpg"
    steps = [writes(path, b"1"), writes(path, b"12"), writes(path, b"123"), nothing, nothing]
    assert await given(Looks(tmp_path, *steps)) == [(4, "a.jpg")]


async def test_empty_file_is_not_a_photo_yet(tmp_path):
    path = tmp_path / "a.jpg"
    steps = [writes(path, b""), nothing, nothing, writes(path, b"1"), nothing, nothing]
    assert await given(Looks(tmp_path, *steps)) == [(5, "a.jpg")]


async def test_photo_that_changes_is_given_again(tmp_path):
    path = tmp_path / "a.jpg"
    steps = [writes(path, b"1"), nothing, nothing, writes(path, b"12"), nothing, nothing]
    assert await given(Looks(tmp_path, *steps)) == [(2, "a.jpg"), (5, "a.jpg")]


async def test_photo_that_vanishes_is_forgotten(tmp_path):
    path = tmp_path / "a.jpg"
    steps = [writes(path, b"1"), path.unlink, nothing, writes(path, b"1"), nothing, nothing]
    assert await given(Looks(tmp_path, *steps)) == [(5, "a.jpg")]


async def test_photo_that_vanishes_during_a_look_is_passed_by(tmp_path):
    class Late(Looks):
        def look(self) -> list[Job]:
            jobs = super().look()
            (tmp_path / "a.jpg").unlink(missing_ok=True)
            return jobs

    (tmp_path / "a.jpg").write_bytes(b"1")
    assert await given(Late(tmp_path, *[nothing] * 3)) == []


async def test_what_is_left_out_is_told_once_it_stands_still(tmp_path):
    other = tmp_path / "a.nef"
    looks = Looks(
        tmp_path, writes(other, b"x"), nothing, nothing, other.unlink, writes(other, b"y"), nothing, nothing
    )
    assert await given(looks) == []
    assert looks.passed == [{other: ".nef"}] * 2


async def test_what_is_there_for_one_look_is_not_told(tmp_path):
    """Such as a photo that a browser is still loading, under another name."""
    part = tmp_path / "a.jpg.crdownload"
    steps = [writes(part, b"x"), lambda: part.rename(tmp_path / "a.jpg"), nothing, nothing]
    looks = Looks(tmp_path, *steps)
    assert [name for _, name in await given(looks)] == ["a.jpg"]
    assert looks.passed == []


async def test_nothing_is_given_once_it_is_over(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(b"1")
    looks = Looks(tmp_path, *[nothing] * 9)
    taken = []
    async for photo, _ in watch.settled(looks, looks.stopped, looks.passed.append):
        taken.append(photo.name)
        looks.stopped.set()
    assert taken == ["a.jpg"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_first_signal_asks_and_the_second_acts(number):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    said = StringIO()
    with watch.until_signal(Console(file=said)) as stopped:
        os.kill(os.getpid(), number)
        async with asyncio.timeout(10):
            await stopped.wait()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert "stopping" in said.getvalue()


async def test_signals_are_as_before_when_it_is_over():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with watch.until_signal(Console(file=StringIO())):
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_there_must_be_a_folder_to_watch(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(PathsError, match="needs a folder"):
        watch.refuse_unwatchable([tmp_path / "a.jpg"], tmp_path / "out")


def test_results_may_not_become_photos(tmp_path):
    with pytest.raises(PathsError, match="another folder"):
        watch.refuse_unwatchable([tmp_path], tmp_path / "x" / "..")
    watch.refuse_unwatchable([tmp_path], tmp_path / "out")
