"""Connect to Ray, or start it, without its output. No other module does. Knows no photos."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray


class ClusterUnavailable(Exception):  # noqa: N818 - concerns all photos
    """There is no cluster at the address. The message names it."""


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Stay connected to the cluster at `address` while the context lasts; None: RAY_ADDRESS, the cluster on this
    host, or one started for this context. Raises ClusterUnavailable."""
    environment = os.environ
    # Disables Ray's usage statistics.
    environment.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Hides an error that Ray's core prints about Ray Data's actor arguments: they might be lost with their node. They
    # are on the job's own node, without which the job ends anyway.
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
    """The resources of each live node, by Ray's names for them."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
