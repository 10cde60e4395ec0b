"""One CPU, one GPU, several GPUs, several hosts: which strategy, who writes, and that all hosts do the same.

Several hosts are described to TensorFlow by TF_CONFIG, the same on each but for its own index:

    {"cluster": {"worker": ["host-a:12345", "host-b:12345"]}, "task": {"type": "worker", "index": 0}}

Host 0 alone reads and writes the run directory; the others take their weights from it at the start.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import tensorflow as tf

from training.engine.run_dir import RunError
from training.engine.state import TrainState

TF_CONFIG: Final = "TF_CONFIG"

# What a collective operation raises when another host's process has ended.
_LOST_HOST_ERRORS: Final = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.InternalError,
    tf.errors.CancelledError,
)


def choose_strategy() -> tf.distribute.Strategy:
    """Several hosts where TF_CONFIG describes them, else every GPU of this host, else its CPU.

    Make it before anything else of TensorFlow. Raises RunError for a TF_CONFIG that describes no host.
    """
    if os.environ.get(TF_CONFIG):
        _check(os.environ[TF_CONFIG])
        return tf.distribute.MultiWorkerMirroredStrategy()
    gpus = tf.config.list_logical_devices("GPU")
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.OneDeviceStrategy("/gpu:0" if gpus else "/cpu:0")


def _check(described: str) -> None:
    example = '{"cluster": {"worker": ["a:12345", "b:12345"]}, "task": {"type": "worker", "index": 0}}'
    try:
        document = json.loads(described)
        workers, task = document["cluster"]["worker"], document["task"]
        known = (
            task["type"] == "worker" and 0 <= task["index"] < len(workers) and len(document["cluster"]) == 1
        )
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{TF_CONFIG} must be like {example}: {error!r}") from error
    if not known:
        raise RunError(f"{TF_CONFIG} must be like {example}, with an index for each worker, not {described}")


def describe_devices() -> str:
    """Say on what this host computes: "on the CPU (no GPU found)", "on 2 GPUs (NVIDIA H200)"."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "on the CPU (no GPU found)"
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    names = dict.fromkeys(each.get("device_name", "of unknown make") for each in details)
    return f"on {len(gpus)} GPU{'s' * (len(gpus) > 1)} ({', '.join(names)})"


def host_index(strategy: tf.distribute.Strategy) -> int:
    """0 for the host that writes."""
    return int(strategy.cluster_resolver.task_id or 0) if host_count(strategy) > 1 else 0


def host_count(strategy: tf.distribute.Strategy) -> int:
    resolver = getattr(strategy, "cluster_resolver", None)
    return len(resolver.cluster_spec().as_dict().get("worker", [])) if resolver is not None else 1


def broadcast_state(strategy: tf.distribute.Strategy, state: TrainState) -> None:
    """Set every host's vectors to those of host 0, which may have restored them."""
    if host_count(strategy) == 1:
        return
    mine = host_index(strategy) == 0

    @tf.function
    def received(vector: tf.Tensor) -> tf.Tensor:
        return _sum_over_hosts(strategy, vector if mine else tf.zeros_like(vector))

    for vector in state.vectors.values():
        vector.assign(received(tf.constant(vector.numpy())))


def check_hosts_agree(strategy: tf.distribute.Strategy, what: str, digest: str) -> None:
    """Check that all hosts have the same `digest` (hexadecimal) of `what`. Raises RunError, on every host, if not."""
    hosts = host_count(strategy)
    if hosts == 1:
        return
    own = int(digest[:7], 16)

    @tf.function
    def summed(value: tf.Tensor) -> tf.Tensor:
        return _sum_over_hosts(strategy, tf.stack([value, value * value]))

    # Equal numbers, and no others, reach the least sum of squares that their sum allows.
    total, squares = (int(each) for each in summed(tf.constant(own, tf.int64)).numpy())
    if squares * hosts != total * total:
        raise RunError(f"the hosts do not have the same {what}; give each of them the same")


def _sum_over_hosts(strategy: tf.distribute.Strategy, value: tf.Tensor) -> tf.Tensor:
    """In a function's graph; a host's replicas have the same value, and each counts as a part of its host."""
    local = strategy.num_replicas_in_sync // host_count(strategy)

    def reduced(value: tf.Tensor) -> tf.Tensor:
        # The identity gives it a device: what is on none cannot be reduced.
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(value))

    total = strategy.experimental_local_results(strategy.run(reduced, args=(value,)))[0]
    return total // local if value.dtype.is_integer else total / local


@contextmanager
def name_lost_hosts(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turn TensorFlow's long report of a host that went away into a RunError that says what to do."""
    try:
        yield
    except _LOST_HOST_ERRORS as error:
        if host_count(strategy) == 1:
            raise
        raise RunError(
            "another host went away; start the same command on every host again: "
            "the run goes on from its last checkpoint"
        ) from error
