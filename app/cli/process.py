"""`matte` and `cutout`: many photos in, a file for each out, with progress and failures. Knows no pixels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from app.cli import exit, failures, files, watch
from app.cli.failures import Failure, Note
from app.cli.files import PathsError
from app.cli.journal import Journal
from app.cli.photo_options import PhotoOptions
from app.cli.plan import Job, Plan
from app.cli.processors import Done, PhotoFailed, ProcessingStopped, Processor
from app.errors import MissingSource, MultipleSources
from app.files import left_out
from app.files.names import shown
from app.imaging import file_checks

_NAMED_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class Service:
    """A running service, and how many photos it shall have at once."""

    url: str
    concurrency: int
    api_key: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessOptions:
    """What a person has typed. `failures`: the list of them. `service`: None for this process."""

    paths: Sequence[Path]
    out: Path
    options: PhotoOptions
    recursive: bool = True
    watch: bool = False
    overwrite: bool = False
    failures: Path | None = None
    service: Service | None = None


def run(order: ProcessOptions) -> None:
    """Do all of it, and exit with 0 only if nothing failed."""
    console, summary = Console(stderr=True), Summary()
    try:
        target = files.single_target(order.paths, order.out)
        options = order.options.with_format(files.format_of(target, order.options.format))
        with failures.listing(order.failures) as note:
            asyncio.run(
                _Run(order, options, _worker(order, options, console), console, summary, note).all(target)
            )
    except (PathsError, ProcessingStopped, OSError) as error:
        exit.fail(str(error))
    except KeyboardInterrupt:
        console.print("interrupted; the files written so far are complete")
        exit.leave(exit.INTERRUPTED)
    report(summary, order, console)
    if summary.failures or summary.ended:
        raise typer.Exit(1)


def report(summary: Summary, order: ProcessOptions, console: Console) -> None:
    """Say what became of the photos. File names are printed as they are, whatever brackets are in them."""
    if summary.empty:
        _tell_empty(summary.empty, console)
    if summary.failures and not order.watch:
        problems = {source: failure.detail for source, failure in summary.failures.items()}
        failures.tell(console, f"{len(problems)} of {summary.tried} failed", problems)
    if summary.left_out:
        console.print(Text(left_out.sentence(summary.left_out)), soft_wrap=True)
    if order.out != files.STDIO:
        parts = [f"{summary.written} written to {shown(order.out)}"]
        if summary.skipped:
            parts.append(f"{summary.skipped} skipped, done already (--overwrite makes them anew)")
        if summary.failures:
            parts.append(f"{len(summary.failures)} failed")
        console.print(Text(", ".join(parts)), soft_wrap=True)
    if summary.ended:
        console.print(Text(f"given up: {summary.ended}"), soft_wrap=True)


def _tell_empty(empty: Sequence[Path], console: Console) -> None:
    """A few of them on a terminal; else all, for logs and programs."""
    most = _NAMED_MAX if console.is_terminal else len(empty)
    named = ", ".join(map(shown, empty[:most])) + " …" * (len(empty) > most)
    console.print(Text(f"nobody was found in {len(empty)}: {named}"), soft_wrap=True)


def _worker(order: ProcessOptions, options: PhotoOptions, console: Console) -> Processor:
    """Imported here, so that who sends to a service does not wait for OpenCV, nor the other one for httpx."""
    service = order.service
    if service is not None:
        from app.cli.processors import RemoteProcessor

        return RemoteProcessor(
            service.url, options, console, concurrency=service.concurrency, api_key=service.api_key
        )
    from app.cli.processors import LocalProcessor

    return LocalProcessor(options, console)


@dataclass(frozen=True, slots=True)
class _Run:
    order: ProcessOptions
    options: PhotoOptions
    worker: Processor
    console: Console
    summary: Summary
    note: Note

    async def all(self, target: Path | None) -> None:
        try:
            if target is not None:
                await self._single(target)
            elif self.order.watch:
                await self._watch()
            else:
                await self._once()
        finally:
            await self.worker.close()

    async def _single(self, target: Path) -> None:
        source = self.order.paths[0]
        files.refuse_terminals(source, target)
        await self.worker.model()  # What cannot work is known before the model loads.
        await self._through([(source, target)], None)

    async def _once(self) -> None:
        plan = self._plan()
        jobs = await asyncio.to_thread(plan.look)
        if not jobs:
            raise PathsError(left_out.nothing(plan.left_out))
        self.summary.left_out = plan.left_out
        journal = await self._journal()
        if not self.order.overwrite:
            left = await asyncio.to_thread(lambda: [job for job in jobs if not journal.has(*job)])
            self.summary.skipped, jobs = len(jobs) - len(left), left
        if jobs:
            await self._through(jobs, journal)

    async def _through(self, jobs: Sequence[Job], journal: Journal | None) -> None:
        await self.worker.start()
        name = self.options.doing
        with bar(name, self.console) as progress:
            done = progress.add_task(name, total=len(jobs))

            def through(job: Job, _outcome: str) -> None:
                progress.advance(done)
                self._note(job)

            await PhotoQueue(self.worker, journal, self.summary, through).process_all(_each(jobs))

    async def _watch(self) -> None:
        """Nobody may be looking: each photo gets a line of its own, and there is no bar."""
        watch.refuse_unwatchable(self.order.paths, self.order.out)
        journal = await self._journal()
        await self.worker.start()
        self.console.print("watching; Ctrl-C ends it")
        with watch.until_signal(self.console) as stopped:
            queue, plan = PhotoQueue(self.worker, journal, self.summary, self._tell), self._plan()
            await queue.process_all(self._new(watch.settled(plan, stopped, self._pass_by), journal))

    async def _new(self, jobs: AsyncIterator[Job], journal: Journal) -> AsyncIterator[Job]:
        async for job in jobs:
            if self.order.overwrite or not journal.has(*job):
                yield job
            else:
                self.summary.skipped += 1

    def _tell(self, job: Job, outcome: str) -> None:
        self.console.print(Text(f"{shown(job[0])}: {outcome}"), soft_wrap=True)
        self._note(job)

    def _note(self, job: Job) -> None:
        if (failure := self.summary.failures.get(job[0])) is not None:
            self.note(job[0], failure)

    def _pass_by(self, found: Mapping[Path, str]) -> None:
        self.summary.left_out |= found
        self.console.print(Text(left_out.sentence(found, named=True)), soft_wrap=True)

    def _plan(self) -> Plan:
        order = self.order
        return Plan(order.paths, order.out, self.options.suffix, recursive=order.recursive)

    async def _journal(self) -> Journal:
        return Journal(self.order.out, self.options.key(await self.worker.model()))


async def _each(jobs: Sequence[Job]) -> AsyncIterator[Job]:
    for job in jobs:
        yield job


UNREACHED: Final = "storage"
"""The code of a file that could not be read or written; `bulk` calls it so, too."""


@dataclass(slots=True)
class Summary:
    """What became of the photos. `left_out`: files that are none, and why. `ended`: why no more were tried."""

    written: int = 0
    skipped: int = 0
    empty: list[Path] = field(default_factory=list)
    failures: dict[Path, Failure] = field(default_factory=dict)
    left_out: dict[Path, str] = field(default_factory=dict)
    ended: str = ""

    @property
    def tried(self) -> int:
        """Photos that were written or failed."""
        return self.written + len(self.failures)


class PhotoQueue:
    """`tell` hears of each photo that is through, and what came of it: where it was written to, or why not."""

    def __init__(
        self, worker: Processor, journal: Journal | None, summary: Summary, tell: Callable[[Job, str], None]
    ) -> None:
        self._worker = worker
        self._journal = journal
        self._summary = summary
        self._tell = tell

    async def process_all(self, jobs: AsyncIterator[Job]) -> None:
        """All of `jobs`, or those up to the point where the worker ends the work, which the summary then says."""
        concurrency = asyncio.Semaphore(self._worker.concurrency)
        try:
            async with asyncio.TaskGroup() as group:
                async for job in jobs:
                    await concurrency.acquire()
                    group.create_task(self._one(job)).add_done_callback(lambda _task: concurrency.release())
        except* ProcessingStopped as ends:
            self._summary.ended = str(ends.exceptions[0])

    async def _one(self, job: Job) -> None:
        source, target = job
        outcome = shown(target)
        try:
            data, mark = await asyncio.to_thread(self._read, source)
            done = await self._worker.work(data)
            await asyncio.to_thread(self._write, job, done, mark)
        except (PhotoFailed, OSError) as error:
            outcome = _said(error, source)
            code = error.code if isinstance(error, PhotoFailed) else UNREACHED
            self._summary.failures[source] = Failure(code, outcome)
        else:
            self._summary.written += 1
            self._summary.failures.pop(source, None)  # Of a watched photo that has been put right.
            if not done.foreground:
                self._summary.empty.append(source)
                outcome += " (nobody was found)"
        self._tell(job, outcome)

    def _read(self, source: Path) -> tuple[bytes, str]:
        """The mark is taken first: a photo that is replaced meanwhile is then done once more, not once too little."""
        mark = self._journal.mark(source) if self._journal is not None else ""
        data = files.read(source)
        if not data:
            empty = "nothing came from standard input" if source == files.STDIO else "the file is empty"
            raise PhotoFailed(empty, MissingSource.code)
        if source == files.STDIO and file_checks.is_followed(data):
            raise PhotoFailed(
                "more than one picture came from standard input; send one at a time, or name files",
                MultipleSources.code,
            )
        return data, mark

    def _write(self, job: Job, done: Done, mark: str) -> None:
        target, journal = job[1], self._journal
        if journal is None:
            files.write(target, done.data)
        else:
            files.write(target, done.data, lambda: journal.add(target, mark, len(done.data)))


def _said(error: Exception, source: Path) -> str:
    """Without the number of the operating system's error, and without the photo's name, which stands before it."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    other = error.filename is not None and error.filename != str(source)
    return f"{error.strerror}: {error.filename}" if other else error.strerror


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        seconds = task.finished_time or task.elapsed
        return Text(f"{task.completed / seconds if seconds else 0:.1f} images/s")


def bar(doing: str, console: Console) -> Progress:
    """With what is being done, how many of how many, how fast, and how long it will take."""
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn())
    return Progress(*columns, console=console)
