"""An order comes in, its photos go through a cluster, what became of each comes out. Knows no pixels.

    plan what is left -> a batch after the other to whoever has room -> outcomes -> the file of failures

Killed at any point, the same order goes on where it was: what is written is whole, and is known by its name.
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


class JobStopped(Exception):  # noqa: N818 - said of all photos
    """The job cannot begin, or not go on. The message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """`key`: all that decides what is made of a photo; results of another key are not taken for done. `suffix`: of
    the files to write. `stored`: the model. `address`: of the cluster, as `ray_start.cluster` takes it."""

    source: str
    destination: str
    output: Output
    suffix: str
    key: str
    stored: ModelVersion
    settings: Settings = field(repr=False)
    recursive: bool = True
    overwrite: bool = False
    address: str | None = None
    cluster_spec: ClusterSpec = field(default_factory=ClusterSpec)
    load: Callable[[Task], Predictor] = load_model


def plan(order: JobOptions) -> Plan:
    """What is left to do. Needs no cluster. Raises JobStopped."""
    try:
        return make_plan(
            order.source,
            order.destination,
            suffix=order.suffix,
            key=order.key,
            recursive=order.recursive,
            overwrite=order.overwrite,
        )
    except (StorageError, OSError) as error:
        raise JobStopped(str(error)) from None


def outcomes(order: JobOptions, plan: Plan) -> Iterator[Outcome]:
    """Do it: one outcome for each photo of the plan, as they come. Raises JobStopped."""
    yield from plan.refused
    if not plan.count:
        return
    seen: set[str] = set()
    try:
        with cluster.cluster(order.address):
            cluster_spec = pools.size(order.cluster_spec, cluster.nodes(), device=order.settings.device)
            if order.settings.device == "cuda" and not cluster_spec.gpus:
                raise JobStopped("MATTE_DEVICE=cuda, but the cluster has no GPU")
            for made in pools.through(_task(order, plan, cluster_spec.cpus), plan, cluster_spec):
                new = [each for each in made if each.id not in seen]
                seen.update(each.id for each in new)
                yield from new
    except (cluster.ClusterUnavailable, pools.TooSmall) as error:
        raise JobStopped(str(error)) from None
    except RayError as error:
        raise JobStopped(str(error).strip().splitlines()[-1]) from error
    if len(seen) != plan.count:
        raise JobStopped(f"Ray has lost {plan.count - len(seen)} photos; the same command does them")


def write_failures(plan: Plan, failures: Sequence[Outcome]) -> str:
    """A line of JSON for each photo that failed, empty where none did, to where the results are. Its path. Raises
    JobStopped."""
    lines = (failure_line(each.id, each.code, each.detail) for each in failures)
    storage = plan.sink.storage
    try:
        storage.write(FAILURES_FILE, "".join(lines).encode())
    except OSError as error:
        raise JobStopped(str(error)) from None
    return storage.path(FAILURES_FILE)


def _task(order: JobOptions, plan: Plan, cpus: int) -> Task:
    """Keys to the service are no worker's business."""
    own = {"api_keys": (), "api_keys_file": None, "protect": (), "cores": cpus}
    return Task(
        settings=order.settings.model_copy(update=own),
        output=order.output,
        source=plan.storage,
        sink=plan.sink,
        done=plan.done,
        suffix=order.suffix,
        stored=order.stored,
        load=order.load,
    )
