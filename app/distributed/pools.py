"""Run a task's photos through pools of workers on all nodes. All of Ray Data is here.

Ray starts a dead worker anew, where there is room, and gives it the same batches again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import ray
import ray.data
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from app.distributed import records
from app.distributed.plan import Plan
from app.distributed.quarantine import AttemptLog, Quarantine
from app.distributed.records import Outcome
from app.distributed.workers import (
    BATCH_MAX,
    DecodeActor,
    FinishActor,
    FullPipelineActor,
    InferenceActor,
    Task,
)

BATCHES_EACH: Final = 4
"""Where there are few photos, so many are given at once that each worker is asked about so often."""
CPUS_MAX: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """`workers` with `cpus` cores each; with `gpus` GPUs among them. `split`: decode, network and finish in pools of
    their own. None: by what the cluster has."""

    workers: int | None = None
    cpus: int | None = None
    gpus: int | None = None
    split: bool | None = None


@dataclass(frozen=True, slots=True)
class ResolvedClusterSpec:
    """A `ClusterSpec` without None."""

    workers: int
    cpus: int
    gpus: int
    split: bool


class TooSmall(Exception):  # noqa: N818 - said of all photos
    """The cluster has not what is asked for. Ray would wait for it without a word."""


class _RayAttemptLog:
    """A `Quarantine` on the node of the job's own process, which the job does not outlive anyway."""

    def __init__(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._actor = ray.remote(Quarantine).options(num_cpus=0, scheduling_strategy=here).remote()

    def together(self, ids: Sequence[str]) -> list[tuple[bool, Outcome | None]]:
        known: list[tuple[bool, Outcome | None]] = ray.get(self._actor.together.remote(ids))
        return known

    def alone(self, identity: str) -> bool:
        may: bool = ray.get(self._actor.alone.remote(identity))
        return may

    def survived(self, identity: str) -> None:
        ray.get(self._actor.survived.remote(identity))

    def finish(self, made: Sequence[Outcome]) -> None:
        ray.get(self._actor.finish.remote(made))


def size(cluster_spec: ClusterSpec, nodes: Sequence[dict[str, float]], *, device: str) -> ResolvedClusterSpec:
    """How many workers, and how large, by the resources of each node. Whole ones are as large as the smallest node,
    so that it has one; split ones have one core. Raises TooSmall."""
    cores = [int(node.get("CPU", 0)) for node in nodes]
    there = 0 if device == "cpu" else int(sum(node.get("GPU", 0) for node in nodes))
    gpus = there if cluster_spec.gpus is None else cluster_spec.gpus
    if gpus > there:
        raise TooSmall(f"the cluster has {there} GPUs that MATTE_DEVICE={device} may use, not {gpus}")
    split = gpus > 0 if cluster_spec.split is None else cluster_spec.split
    cpus = cluster_spec.cpus or (1 if split else min([CPUS_MAX, *filter(None, cores)]))
    free = sum(count // cpus for count in cores) - (math.ceil(max(1, gpus) / cpus) if split else 0)
    workers = cluster_spec.workers or free
    least = 2 if split else 1
    if not least <= workers <= free:
        raise TooSmall(
            f"the cluster has room for {free} workers of {cpus} cores, not for {max(workers, least)}"
        )
    return ResolvedClusterSpec(workers, cpus, gpus, split)


def through(task: Task, plan: Plan, pools: ResolvedClusterSpec) -> Iterator[list[Outcome]]:
    """What became of all photos of a plan, in any order, as batches are done. Raises ray's errors."""
    batch = min(BATCH_MAX, max(1, math.ceil(plan.count / (pools.workers * BATCHES_EACH))))
    given = 1 if plan.groups else batch
    photos = _dataset(plan, batch)
    made = _split(photos, task, pools, given, batch) if pools.split else _whole(photos, task, pools, given)
    for table in made.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield records.outcomes_of(table)


def _dataset(plan: Plan, batch: int) -> Any:
    if plan.groups:
        # Workers read them: a reader of Ray's own would wait for a core that they have.
        rows = [{"file": name, "number": number} for name, number in plan.groups]
        return ray.data.from_arrow([pa.Table.from_pylist([row], records.GROUPS) for row in rows])
    starts = range(0, len(plan.photos), batch)
    return ray.data.from_arrow([records.photo_table(plan.photos[start : start + batch]) for start in starts])


def _whole(photos: Any, task: Task, pools: ResolvedClusterSpec, given: int) -> Any:
    book: AttemptLog = _RayAttemptLog()
    workers = min(pools.workers, pools.gpus) if pools.gpus else pools.workers
    return photos.map_batches(
        FullPipelineActor,
        **_pool(task, workers, pools.cpus, given, book=book),
        num_gpus=1 if pools.gpus else 0,
    )


def _split(photos: Any, task: Task, pools: ResolvedClusterSpec, given: int, batch: int) -> Any:
    """Finishing takes about twice as long as decoding, so it gets two workers out of three."""
    decoders = max(1, pools.workers // 3)
    finishers = max(1, pools.workers - decoders)
    decoded = photos.map_batches(
        DecodeActor, **_pool(task, decoders, pools.cpus, given, book=_RayAttemptLog())
    )
    network = _pool(task, max(1, pools.gpus), 1, batch)
    alphas = decoded.map_batches(InferenceActor, **network, num_gpus=1 if pools.gpus else 0)
    return alphas.map_batches(FinishActor, **_pool(task, finishers, pools.cpus, batch, book=_RayAttemptLog()))


def _pool(task: Task, most: int, cpus: int, batch: int, **given: AttemptLog) -> dict[str, Any]:
    return {
        "fn_constructor_kwargs": {"task": task, **given},
        "compute": ray.data.ActorPoolStrategy(min_size=1, max_size=most, initial_size=most),
        "num_cpus": cpus,
        "batch_size": batch,
        "batch_format": "pyarrow",
    }
