"""A bulk job: process the photos of a source on a cluster, and report the outcome of each. Knows no pixels.

    plan what is left -> batches to the workers that are free -> outcomes -> the file of failures

A job may be killed at any point; the same command then continues it: results are written completely or not at all,
and are found by their names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from ray.exceptions import RayError

from app.distributed import cluster, pools
from app.distributed.plan import Plan, make_plan
from app.distributed.pools import ClusterSpec
from app.distributed.records import Outcome
from app.distributed.storage import StorageError
from app.distributed.workers import Task, load_model
from app.files.results import failure_line
from app.imaging.output import Output
from app.inference.predictor import Predictor
from app.inference.repository import ModelVersion
from app.settings import Settings

FAILURES_FILE: Final = "_failures.jsonl"


class JobStopped(Exception):  # noqa: N818 - concerns all photos
    """The job cannot start or continue. The message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """`key`: everything that determines a result; results of another key are not reused. `suffix`: of the files to
    write. `address`: of the cluster, as `cluster.cluster` takes it."""

    source: str
    destination: str
    output: Output
    suffix: str
    key: str
    model: ModelVersion
    settings: Settings = field(repr=False)
    recursive: bool = True
    overwrite: bool = False
    address: str | None = None
    cluster_spec: ClusterSpec = field(default_factory=ClusterSpec)
    load: Callable[[Task], Predictor] = load_model


def plan(options: JobOptions) -> Plan:
    """Plan what is left to do. Needs no cluster. Raises JobStopped."""
    try:
        return make_plan(
            options.source,
            options.destination,
            suffix=options.suffix,
            key=options.key,
            recursive=options.recursive,
            overwrite=options.overwrite,
        )
    except (StorageError, OSError) as error:
        raise JobStopped(str(error)) from None


def outcomes(options: JobOptions, plan: Plan) -> Iterator[Outcome]:
    """Run the plan: yield one outcome per photo, as they complete. Raises JobStopped."""
    yield from plan.refused
    if not plan.count:
        return
    seen: set[str] = set()
    try:
        with cluster.cluster(options.address):
            cluster_spec = pools.resolve(
                options.cluster_spec, cluster.nodes(), device=options.settings.device
            )
            if options.settings.device == "cuda" and not cluster_spec.gpus:
                raise JobStopped("MATTE_DEVICE=cuda, but the cluster has no GPU")
            for made in pools.run_task(_task(options, plan, cluster_spec.cpus), plan, cluster_spec):
                new = [each for each in made if each.id not in seen]
                seen.update(each.id for each in new)
                yield from new
    except (cluster.ClusterUnavailable, pools.ClusterTooSmall) as error:
        raise JobStopped(str(error)) from None
    except RayError as error:
        raise JobStopped(str(error).strip().splitlines()[-1]) from error
    if len(seen) != plan.count:
        raise JobStopped(f"Ray has lost {plan.count - len(seen)} photos; the same command does them")


def write_failures(plan: Plan, failures: Sequence[Outcome]) -> str:
    """Write a line of JSON per failed photo beside the results; an empty file if none failed. Return its path. Raises
    JobStopped."""
    lines = (failure_line(each.id, each.code, each.detail) for each in failures)
    storage = plan.sink.storage
    try:
        storage.write(FAILURES_FILE, "".join(lines).encode())
    except OSError as error:
        raise JobStopped(str(error)) from None
    return storage.path(FAILURES_FILE)


def _task(options: JobOptions, plan: Plan, cpus: int) -> Task:
    """The task for the workers, without the service's API keys."""
    own = {"api_keys": (), "api_keys_file": None, "protect": (), "cores": cpus}
    return Task(
        settings=options.settings.model_copy(update=own),
        output=options.output,
        source=plan.storage,
        sink=plan.sink,
        done=plan.done,
        suffix=options.suffix,
        model=options.model,
        load=options.load,
    )
