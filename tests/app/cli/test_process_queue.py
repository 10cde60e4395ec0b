"""Photos in hand at once, and what becomes of each."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.cli.failures import Failure
from app.cli.journal import Journal
from app.cli.process import PhotoQueue, Summary
from tests.app.cli.conftest import Maker


class Run:
    """A queue with a `Maker`, over photos that hold the bytes given."""

    def __init__(self, tmp_path: Path, *photos: bytes) -> None:
        self.maker = Maker()
        self.summary = Summary()
        self.told: list[str] = []
        self.out = tmp_path / "out"
        self.jobs = [(tmp_path / str(number), self.out / str(number)) for number in range(len(photos))]
        self.pulled = 0
        for (source, _), data in zip(self.jobs, photos, strict=True):
            source.write_bytes(data)

    async def each(self):
        for job in self.jobs:
            self.pulled += 1
            yield job

    async def process(self, journal: Journal | None = None) -> None:
        def tell(job, outcome):
            self.told.append(f"{job[0].name}: {outcome.removeprefix(str(self.out))}")

        await PhotoQueue(self.maker, journal, self.summary, tell).process_all(self.each())

    def written(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.out.glob("[0-9]*")}


async def test_every_photo_is_written_and_told(tmp_path):
    run = Run(tmp_path, b"x", b"nobody", b"z")
    await run.process()
    assert run.written() == {"0": b"of x", "1": b"of nobody", "2": b"of z"}
    assert sorted(run.told) == ["0: /0", "1: /1 (nobody was found)", "2: /2"]
    assert (run.summary.written, run.summary.failures) == (3, {})
    assert run.summary.empty == [run.jobs[1][0]]


async def test_failure_of_one_is_no_failure_of_the_others(tmp_path):
    run = Run(tmp_path, b"x", b"bad", b"z")
    run.jobs[2][0].unlink()
    await run.process()
    assert set(run.written()) == {"0"}
    assert run.summary.failures[run.jobs[1][0]] == Failure("failed_to_read_image", "it is [damaged]")
    assert run.summary.failures[run.jobs[2][0]] == Failure("storage", "No such file or directory")
    assert run.summary.tried == 3


async def test_work_that_ends_is_not_gone_on_with(tmp_path):
    run = Run(tmp_path, b"x", b"hopeless", *[b"z"] * 50)
    await run.process()
    assert run.summary.ended == "no such option"
    assert run.pulled < 10


async def test_no_more_photos_are_processed_at_once_than_allowed(tmp_path):
    run = Run(tmp_path, *[b"x"] * 20)
    inside, most, full = 0, 0, asyncio.Event()
    work = run.maker.work

    async def counted(data):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        if inside == run.maker.concurrency:
            full.set()
        # Files are read by threads: without waiting for each other, two may just miss.
        await asyncio.wait_for(full.wait(), 30)
        await asyncio.sleep(0)
        inside -= 1
        return await work(data)

    run.maker.work = counted  # type: ignore[method-assign]
    await run.process()
    assert most == run.maker.concurrency == 2
    assert run.summary.written == 20


async def test_what_is_written_is_noted_and_what_failed_is_not(tmp_path):
    run = Run(tmp_path, b"x", b"bad")
    await run.process(Journal(run.out, "key"))
    assert [Journal(run.out, "key").has(*job) for job in run.jobs] == [True, False]


async def test_photo_that_is_replaced_meanwhile_is_done_once_more(tmp_path):
    run = Run(tmp_path, b"x")
    run.maker.before_each = lambda _data: run.jobs[0][0].write_bytes(b"another")
    await run.process(Journal(run.out, "key"))
    assert not Journal(run.out, "key").has(*run.jobs[0])


async def test_photo_that_is_put_right_has_not_failed(tmp_path):
    run = Run(tmp_path, b"bad")
    await run.process()
    run.jobs[0][0].write_bytes(b"good")
    await run.process()
    assert run.summary.failures == {}


async def test_unexpected_error_is_not_hidden(tmp_path):
    run = Run(tmp_path, b"x")
    run.maker.before_each = lambda _data: 1 / 0  # type: ignore[assignment, return-value]
    with pytest.raises(ExceptionGroup) as caught:
        await run.process()
    assert isinstance(caught.value.exceptions[0], ZeroDivisionError)


async def test_empty_photo_is_called_empty_and_not_sent(tmp_path):
    run = Run(tmp_path, b"", b"x")
    await run.process()
    assert run.told[0] == "0: the file is empty"
    assert run.summary.failures == {tmp_path / "0": Failure("missing_source", "the file is empty")}
    assert run.written() == {"1": run.written()["1"]}
