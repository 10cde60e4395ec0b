"""The service on Ray Serve, on a real cluster of raylets on this machine."""

from __future__ import annotations

import pytest

pytest.importorskip("ray.serve", reason="Ray is an extra: pip install -e '.[ray]'")

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import ray
from pydantic import ValidationError
from ray import serve

from app.distributed import deployment
from app.settings import Settings
from tests.support.images import pixels, plain, png

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
PATIENCE_S = 180


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def address(tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of a service of two replicas."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("MATTE_MODEL_DIR", str(tiny_artifact))
    monkeypatch.setenv("MATTE_DEVICE", "cpu")
    port = free_port()
    ray.init(
        address="local",
        num_cpus=4,
        object_store_memory=80_000_000,
        include_dashboard=False,
        log_to_driver=False,
    )
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(deployment.deployment({"least": "2", "most": "2", "cpus": "1"}))
        yield f"http://127.0.0.1:{port}"
    finally:
        serve.shutdown()
        ray.shutdown()


def replicas() -> set[str]:
    """Names of the replicas that there are, whether they are ready or not."""
    names = (each["name"] for each in ray.util.list_named_actors(all_namespaces=True))
    return {name for name in names if "#matting#" in name}


def ready() -> int:
    """How many replicas take photos."""
    states = serve.status().applications["default"].deployments["matting"].replica_states
    return int(states.get("RUNNING", 0))


def post(client: httpx.Client, value: int) -> httpx.Response:
    return client.post("/v1/matte", files={"image": png(plain(value))})


@pytest.mark.slow
def test_a_replica_dies_and_the_service_goes_on(address):
    with httpx.Client(base_url=address, timeout=PATIENCE_S) as client:
        for value in (20, 200):
            answer = post(client, value)
            assert answer.status_code == 200, answer.text
            assert abs(int(pixels(answer.content).mean()) - value) <= 2
        assert client.get("/readyz").status_code == 200
        assert post(client, 0).headers["X-Model"] == "tiny@1"
        bad = client.post("/v1/matte", files={"image": b"no picture"})
        assert (bad.status_code, bad.json()["errors"][0]["code"]) == (415, "invalid_file_type")
        before = replicas()
        assert len(before) == 2
        victim, other = sorted(before)
        ray.kill(ray.get_actor(victim, namespace="serve"), no_restart=True)
        end, good = time.monotonic() + PATIENCE_S, 0
        while good < 10 or ready() < 2 or victim in replicas():
            assert time.monotonic() < end
            good += post(client, 120).status_code == 200
        assert other in replicas()


def test_arguments_are_those_of_replicas():
    assert deployment.Replicas.model_validate({"most": "8", "gpus": "1"}) == deployment.Replicas(
        most=8, gpus=1
    )
    with pytest.raises(ValidationError, match="more"):
        deployment.Replicas.model_validate({"more": "8"})


def test_busy_replica_has_a_batch_and_two_photos_for_each_thread():
    assert deployment.busy_photos(Settings(cores=4), on_gpu=False) == 2 + 8
    assert deployment.busy_photos(Settings(cores=4), on_gpu=True) == 16 + 8
    assert deployment.busy_photos(Settings(cores=4, max_queue=5), on_gpu=False) == 5
