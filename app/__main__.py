"""The command line: `python -m app serve` and `python -m app matte PATH... -o OUT_DIR`.

Arguments and the environment come in, a running service or a folder of PNGs goes out. Knows no pixels.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
import uvicorn
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
from rich.table import Table
from rich.text import Text

from app.errors import ServiceError
from app.logs import configure_logs
from app.main import Server, create_app, model_loader
from app.metrics import Metrics
from app.pipeline import Pipeline
from app.predictor import LoadError
from app.recipe import Output
from app.settings import Settings, SettingsError, load_settings
from model.contract import ContractError
from model.matting import Quality

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells count.

_log = logging.getLogger("app")

cli = typer.Typer(
    help="Background removal for portraits.", no_args_is_help=True, pretty_exceptions_enable=False
)


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; else MATTE_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="TCP port, 0 for a free one; else MATTE_PORT.")
    ] = None,
) -> None:
    """Serve mattes over HTTP. Everything else is set by MATTE_* environment variables."""
    settings = _settings(host=host, port=port)
    configure_logs(settings.log_level)
    listener = _listen(settings.host, settings.port)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(settings.drain_timeout_ms / 1000),
    )
    server = Server(config, app.state.pipeline)
    app.state.on_load_failure = server.stop
    server.run(sockets=[listener])
    if app.state.load_failure is not None:
        _fail(str(app.state.load_failure))
    if app.state.loading.cancelled():
        _leave(0)


def _listen(host: str, port: int) -> socket.socket:
    """Done before the model loads, so that a taken port is known at once."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        _fail(f"cannot listen on {host} port {port}: {error.strerror}")
    name = f"[{host}]" if ":" in host else host
    _log.info("listening on http://%s:%d (Ctrl-C stops)", name, listener.getsockname()[1])
    return listener


@cli.command()
def matte(
    paths: Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.", exists=True)],
    out_dir: Annotated[Path, typer.Option("-o", "--out-dir", help="Where the PNGs go.", file_okay=False)],
    output: Annotated[Output, typer.Option(help="Grey matte, or the photo with it as alpha.")] = Output.MATTE,
    quality: Annotated[
        Quality, typer.Option(help="high: a little better, at twice the network's cost.")
    ] = Quality.STANDARD,
) -> None:
    """Matte files, through the same pipeline as the service."""
    settings = _settings()
    configure_logs("error", sys.stderr)
    jobs = plan(paths, out_dir)
    if not jobs:
        _fail("no .jpg, .jpeg, .png or .webp file found")
    try:
        failures, empty = asyncio.run(_matte_all(jobs, _Wish(output, quality), settings))
    except (ContractError, LoadError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; the files written so far are complete")
        _leave(INTERRUPTED)
    if empty:
        shown = ", ".join(map(str, empty[:5])) + (" …" if len(empty) > 5 else "")
        Console(stderr=True).print(f"nobody was found in {len(empty)}: {shown}", soft_wrap=True)
    if failures:
        table = Table("file", "problem", title=f"{len(failures)} of {len(jobs)} failed")
        for source, problem in failures:
            table.add_row(str(source), problem)
        Console(stderr=True).print(table)
        raise typer.Exit(1)


def plan(paths: list[Path], out_dir: Path) -> list[tuple[Path, Path]]:
    """(photo, PNG to write) for every photo. Folders keep their inner structure below `out_dir`.

    No two photos share a PNG and none is a photo of the list: where `a.png` is taken, `a.jpg` becomes
    `a.jpg.png`, then `a.jpg-2.png` and so on. PNGs of an earlier run are written anew.
    """
    found: dict[Path, tuple[Path, Path]] = {}
    for path in paths:
        for source in _photos(path, out_dir) if path.is_dir() else [path]:
            folder = out_dir / source.parent.relative_to(path) if path.is_dir() else out_dir
            found.setdefault(source.resolve(), (source, folder))
    taken = {_key(source) for source in found}
    return [(source, _free(folder, source, taken)) for source, folder in found.values()]


def _photos(folder: Path, out_dir: Path) -> list[Path]:
    inside = out_dir.resolve()
    files = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    own = inside != folder.resolve()
    return sorted(path for path in files if not (own and path.resolve().is_relative_to(inside)))


def _free(folder: Path, source: Path, taken: set[str]) -> Path:
    number = 1
    target = folder / f"{source.stem}.png"
    while _key(target) in taken:
        target = folder / (f"{source.name}.png" if number == 1 else f"{source.name}-{number}.png")
        number += 1
    taken.add(_key(target))
    return target


def _key(path: Path) -> str:
    return str(path.resolve()).casefold()  # Some file systems take "A.png" and "a.png" for one.


@dataclass(frozen=True, slots=True)
class _Wish:
    output: Output
    quality: Quality


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        seconds = task.finished_time or task.elapsed
        return Text(f"{task.completed / seconds if seconds else 0:.1f} images/s")


async def _matte_all(
    jobs: list[tuple[Path, Path]], wish: _Wish, settings: Settings
) -> tuple[list[tuple[Path, str]], list[Path]]:
    """Write all PNGs; returns (photo, problem) for those that could not be done, and the photos without a person."""
    console = Console(stderr=True)
    pipeline = Pipeline(settings, Metrics())
    try:
        console.print(f"loading {settings.model_dir.name} …")
        await pipeline.start(model_loader(settings))
        columns = (TextColumn("matting"), BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            return await _through(pipeline, jobs, wish, settings, progress)
    finally:
        await pipeline.close()


async def _through(
    pipeline: Pipeline,
    jobs: list[tuple[Path, Path]],
    wish: _Wish,
    settings: Settings,
    progress: Progress,
) -> tuple[list[tuple[Path, str]], list[Path]]:
    """Enough photos at once to fill the batches while others are decoded, and no more."""
    bar = progress.add_task("matting", total=len(jobs))
    places = asyncio.Semaphore(
        min(settings.max_queue, settings.max_batch_size + 2 * settings.cpu_thread_count)
    )
    failures: list[tuple[Path, str]] = []
    empty: list[Path] = []

    async def one(source: Path, target: Path) -> None:
        async with places:
            try:
                data = await asyncio.to_thread(source.read_bytes)
                result = await pipeline.run(data, wish.output, wish.quality)
                if not result.foreground:
                    empty.append(source)
                await asyncio.to_thread(_write, target, result.png)
            except (ServiceError, OSError) as error:
                failures.append((source, str(error)))
            progress.advance(bar)

    async with asyncio.TaskGroup() as group:
        for source, target in jobs:
            group.create_task(one(source, target))
    return failures, empty


def _write(target: Path, data: bytes) -> None:
    """Whole or not at all, even when interrupted."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial_file = target.with_name(target.name + ".part")
    partial_file.write_bytes(data)
    partial_file.replace(target)


def _settings(*, host: str | None = None, port: int | None = None) -> Settings:
    try:
        return load_settings(host=host, port=port)
    except SettingsError as error:
        _fail(str(error))


def _leave(code: int) -> NoReturn:
    """Without waiting for a thread in TensorFlow, which cannot be interrupted while it loads."""
    logging.shutdown()
    os._exit(code)


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    cli()
