"""Run a task's photos through pools of workers on all nodes, by Ray Data. No other module uses it.

Ray restarts a dead worker where resources allow, and gives it the same batches again.
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

BATCHES_PER_WORKER: Final = 4
"""With few photos, batches become smaller, so that each worker gets this many."""
CPUS_MAX: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """`workers` with `cpus` cores each, with `gpus` GPUs among them. `split`: run decoding, network and finishing in
    separate pools. None: decided by the cluster's resources."""

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


class ClusterTooSmall(Exception):  # noqa: N818 - concerns all photos
    """The cluster lacks the requested resources, for which Ray would wait silently."""


class _RayAttemptLog:
    """A `Quarantine` on the node of the job's own process, without which the job ends anyway."""

    def __init__(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._actor = ray.remote(Quarantine).options(num_cpus=0, scheduling_strategy=here).remote()

    def start_batch(self, ids: Sequence[str]) -> list[tuple[bool, Outcome | None]]:
        seen: list[tuple[bool, Outcome | None]] = ray.get(self._actor.start_batch.remote(ids))
        return seen

    def start_alone(self, identity: str) -> bool:
        may: bool = ray.get(self._actor.start_alone.remote(identity))
        return may

    def clear(self, identity: str) -> None:
        ray.get(self._actor.clear.remote(identity))

    def finish(self, made: Sequence[Outcome]) -> None:
        ray.get(self._actor.finish.remote(made))


def resolve(
    cluster_spec: ClusterSpec, nodes: Sequence[dict[str, float]], *, device: str
) -> ResolvedClusterSpec:
    """Decide how many workers, and how large, from the resources of each node. Full-pipeline workers are as large as
    the smallest node, so that it runs one; stage workers have one core. Raises ClusterTooSmall."""
    cores = [int(node.get("CPU", 0)) for node in nodes]
    available = 0 if device == "cpu" else int(sum(node.get("GPU", 0) for node in nodes))
    gpus = available if cluster_spec.gpus is None else cluster_spec.gpus
    if gpus > available:
        raise ClusterTooSmall(
            f"the cluster has {available} GPUs that MATTE_DEVICE={device} may use, not {gpus}"
        )
    split = gpus > 0 if cluster_spec.split is None else cluster_spec.split
    cpus = cluster_spec.cpus or (1 if split else min([CPUS_MAX, *filter(None, cores)]))
    free = sum(count // cpus for count in cores) - (math.ceil(max(1, gpus) / cpus) if split else 0)
    workers = cluster_spec.workers or free
    least = 2 if split else 1
    if not least <= workers <= free:
        raise ClusterTooSmall(
            f"the cluster has room for {free} workers of {cpus} cores, not for {max(workers, least)}"
        )
    return ResolvedClusterSpec(workers, cpus, gpus, split)


def run_task(task: Task, plan: Plan, pools: ResolvedClusterSpec) -> Iterator[list[Outcome]]:
    """Yield the outcomes of a plan's photos, in any order, batch by batch. Raises Ray's errors."""
    batch = min(BATCH_MAX, max(1, math.ceil(plan.count / (pools.workers * BATCHES_PER_WORKER))))
    batch_size = 1 if plan.groups else batch
    photos = _dataset(plan, batch)
    made = (
        _run_split(photos, task, pools, batch_size, batch)
        if pools.split
        else _run_whole(photos, task, pools, batch_size)
    )
    for table in made.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield records.outcomes_of(table)


def _dataset(plan: Plan, batch: int) -> Any:
    if plan.groups:
        # The workers read them: Ray's own reader would wait for a core that the workers hold.
        rows = [{"file": name, "number": number} for name, number in plan.groups]
        return ray.data.from_arrow([pa.Table.from_pylist([row], records.GROUPS) for row in rows])
    starts = range(0, len(plan.photos), batch)
    return ray.data.from_arrow([records.photo_table(plan.photos[start : start + batch]) for start in starts])


def _run_whole(photos: Any, task: Task, pools: ResolvedClusterSpec, batch_size: int) -> Any:
    attempts: AttemptLog = _RayAttemptLog()
    workers = min(pools.workers, pools.gpus) if pools.gpus else pools.workers
    return photos.map_batches(
        FullPipelineActor,
        **_pool(task, workers, pools.cpus, batch_size, attempts=attempts),
        num_gpus=1 if pools.gpus else 0,
    )


def _run_split(photos: Any, task: Task, pools: ResolvedClusterSpec, batch_size: int, batch: int) -> Any:
    """Finishing takes about twice as long as decoding, so it gets two thirds of the workers."""
    decoders = max(1, pools.workers // 3)
    finishers = max(1, pools.workers - decoders)
    decoded = photos.map_batches(
        DecodeActor, **_pool(task, decoders, pools.cpus, batch_size, attempts=_RayAttemptLog())
    )
    network = _pool(task, max(1, pools.gpus), 1, batch)
    alphas = decoded.map_batches(InferenceActor, **network, num_gpus=1 if pools.gpus else 0)
    return alphas.map_batches(
        FinishActor, **_pool(task, finishers, pools.cpus, batch, attempts=_RayAttemptLog())
    )


def _pool(task: Task, most: int, cpus: int, batch: int, **extra: AttemptLog) -> dict[str, Any]:
    return {
        "fn_constructor_kwargs": {"task": task, **extra},
        "compute": ray.data.ActorPoolStrategy(min_size=1, max_size=most, initial_size=most),
        "num_cpus": cpus,
        "batch_size": batch,
        "batch_format": "pyarrow",
    }
