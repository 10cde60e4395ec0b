"""A collection of photos goes through a Ray cluster, and what became of it is said. Knows no pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.cli import exit, failures
from app.cli.photo_options import PhotoOptions
from app.cli.process import bar
from app.files import left_out

if TYPE_CHECKING:
    from app.distributed.job import JobOptions as Job
    from app.distributed.records import Outcome

NEEDS: Final = ("ray", "pyarrow", "fsspec")
_SHOWN_MAX: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkOptions:
    """What a person has typed. What is None follows from the cluster."""

    source: str
    destination: str
    options: PhotoOptions
    recursive: bool = True
    overwrite: bool = False
    address: str | None = None
    workers: int | None = None
    cpus: int | None = None
    gpus: int | None = None
    split: bool | None = None


def run(order: BulkOptions) -> None:
    """Do all of it, and exit with 0 only if nothing failed."""
    if not all(map(find_spec, NEEDS)):
        exit.fail("bulk needs Ray, which is not installed: pip install 'u2matte[ray]'")
    if order.options.output == "matte" and order.options.given != order.options.of_matte:
        exit.fail("a matte has no options but --quality and --subject; the others are for --output cutout")
    from app.distributed.job import JobStopped

    console = Console(stderr=True)
    try:
        failed = _all(order, _job(order), console)
    except JobStopped as ends:
        exit.fail(str(ends))
    except KeyboardInterrupt:
        console.print(
            "interrupted; what is written so far is complete, and the same command goes on from there"
        )
        exit.leave(exit.INTERRUPTED)
    if failed:
        raise typer.Exit(1)


def _all(order: BulkOptions, asked: Job, console: Console) -> Sequence[Outcome]:
    """Do it, and tell how far it is and what came of it. The failures."""
    from app.distributed import job

    plan = job.plan(asked)
    made: list[Outcome] = []
    empty = written = 0
    with bar(order.options.doing, console) as progress:
        done = progress.add_task(order.options.doing, total=plan.count + len(plan.refused))
        for outcome in job.outcomes(asked, plan):
            progress.advance(done)
            if outcome.code:
                made.append(outcome)
            else:
                written += 1
                empty += not outcome.foreground
    where = job.write_failures(plan, made)
    summary = Table.grid(padding=(0, 2))
    for name, count in (
        ("written", written),
        ("of these without a person", empty),
        ("skipped, done already", plan.skipped),
        ("failed", len(made)),
    ):
        summary.add_row(name, str(count))
    console.print(summary)
    if made:
        shown = {Path(each.id): f"{each.code}: {each.detail}" for each in made[:_SHOWN_MAX]}
        rest = len(made) - len(shown)
        more = [f"… and {rest} more"] * (rest > 0) + [f"all that failed: {where}"]
        failures.tell(console, f"{len(made)} failed", shown, more=more)
    if plan.left_out:
        console.print(Text(left_out.sentence(plan.left_out)), soft_wrap=True)
    return made


def _job(order: BulkOptions) -> Job:
    """With what the environment and the model say. Raises JobStopped."""
    from app.cli.processors import output_of
    from app.distributed import job, pools
    from app.inference.repository import default_of, scan
    from app.settings import SettingsError, load_settings
    from model.contract import ContractError

    options = order.options
    try:
        settings = load_settings()
        stored = default_of(scan(settings.model_dir), settings.default_model)
    except (SettingsError, ContractError) as error:
        raise job.JobStopped(str(error)) from None
    return job.JobOptions(
        source=order.source,
        destination=order.destination,
        output=output_of(options),
        suffix=options.suffix,
        key=options.key(f"{stored.manifest.label} {stored.manifest.sha256}"),
        model=stored,
        settings=settings,
        recursive=order.recursive,
        overwrite=order.overwrite,
        address=order.address,
        cluster_spec=pools.ClusterSpec(
            workers=order.workers, cpus=order.cpus, gpus=order.gpus, split=order.split
        ),
    )
