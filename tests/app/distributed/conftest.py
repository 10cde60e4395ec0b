"""Photos of one grey value each, an order for them, and a Ray cluster on this machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.imaging.output import MATTE
from app.inference.registry import STAND_IN
from app.inference.repository import ModelVersion
from app.settings import Settings
from tests.support.images import plain, png

STORE_BYTES = 80_000_000


@dataclass(frozen=True)
class Cluster:
    """Raylets on this machine. The first one has no cores, and is the job's own."""

    made: Any

    @property
    def address(self) -> str:
        return str(self.made.address)

    def add_node(self, cpus: int) -> Any:
        return self.made.add_node(num_cpus=cpus, object_store_memory=STORE_BYTES)

    def kill(self, node: Any, workers: Iterable[int] = ()) -> None:
        """As if its power was cut: raylet and workers. By itself a worker would go on a little."""
        for process in workers:
            os.kill(process, signal.SIGKILL)
        self.made.remove_node(node, allow_graceful=False)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    import ray
    from ray.cluster_utils import Cluster as Local

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        made = Local(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "object_store_memory": STORE_BYTES,
                "include_dashboard": False,
            },
        )
        cluster = Cluster(made)
        try:
            cluster.add_node(cpus=3)
            yield cluster
        finally:
            ray.shutdown()
            made.shutdown()


@pytest.fixture
def photos(tmp_path: Path) -> Callable[..., Path]:
    """A folder of PNGs by their names, each of one grey value."""

    def draw(**values: int) -> Path:
        folder = tmp_path / "photos"
        for name, value in values.items():
            path = folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(plain(value)))
        return folder

    return draw


@pytest.fixture
def order(tmp_path: Path) -> Callable[..., Any]:
    """An order whose network is `fakes.predict`; MATTE_MODEL_DIR is the folder in which workers find `go`."""

    from app.distributed.job import JobOptions
    from app.distributed.pools import ClusterSpec
    from tests.app.distributed import fakes

    def make(source: Path | str, destination: Path | str = tmp_path / "out", **chosen: Any) -> Any:
        given: dict[str, Any] = {
            "output": MATTE,
            "suffix": ".png",
            "key": "key",
            "model": ModelVersion(tmp_path, STAND_IN, 0),
            "settings": Settings(model_dir=tmp_path, device="cpu", max_batch_size=1, lanes=2),
            "cluster_spec": ClusterSpec(cpus=1),
            "load": fakes.load,
        }
        return JobOptions(source=str(source), destination=str(destination), **(given | chosen))

    return make
