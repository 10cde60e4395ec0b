"""Ray, found or started, and quiet. The only module that says how; knows no photos."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray


class ClusterUnavailable(Exception):  # noqa: N818 - said of all photos
    """There is no cluster at the address. The message says which."""


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Connected to the cluster at `address`; None: RAY_ADDRESS, the one that runs on this host, or one that is
    started for as long as this lasts. Raises ClusterUnavailable."""
    environment = os.environ
    # Ray reports its usage to its makers unless it is told not to.
    environment.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray Data gives each worker arguments that Ray's core then calls an error, on the screen: they might be lost.
    # They are kept on the job's own node, which the job does not outlive.
    environment.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise ClusterUnavailable(f"no Ray cluster at {address}: {error}") from None
    context: Any = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def nodes() -> list[dict[str, float]]:
    """The resources of each node that is alive, by Ray's names for them."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
