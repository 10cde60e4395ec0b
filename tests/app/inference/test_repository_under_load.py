"""A model is exchanged under load, in a real process: no request fails."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.images import plain, png
from tests.support.model_versions import put
from tests.support.servers import PATIENCE_S, serving_quickly

CLIENTS = 4


class Load:
    """Clients that post one photo after the other until they are told to stop; what the answers were."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._stop = threading.Event()
        self._news = threading.Condition()
        self.endings: Counter[tuple[int, str]] = Counter()

    def run(self) -> None:
        with httpx.Client(base_url=self._address, timeout=PATIENCE_S) as client:
            while not self._stop.is_set():
                answer = client.post("/v1/matte", files={"image": png(plain(77))})
                with self._news:
                    self.endings[answer.status_code, answer.headers.get("x-model", "")] += 1
                    self._news.notify_all()

    def wait_for(self, model: str, more: int = 2 * CLIENTS) -> None:
        """Until that model has answered `more` requests again."""
        with self._news:
            goal = self.endings[200, model] + more
            assert self._news.wait_for(lambda: self.endings[200, model] >= goal, PATIENCE_S), self.endings

    def stop(self) -> None:
        self._stop.set()


@pytest.mark.slow
def test_models_come_and_go_under_load_without_a_failed_request(tiny_artifact: Path, tmp_path: Path) -> None:
    put(tmp_path, tiny_artifact, "1")
    with (
        serving_quickly(tmp_path, MATTE_MODEL_POLL_MS="50", MATTE_MAX_QUEUE="64") as (process, address),
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        load = Load(address)
        try:
            running = [pool.submit(load.run) for _ in range(CLIENTS)]
            load.wait_for("tiny@1")
            put(tmp_path, tiny_artifact, "2")
            load.wait_for("tiny@2")
            put(tmp_path, tiny_artifact, "3", damaged=True)
            process.wait_for("model tiny@3 cannot be served")
            load.wait_for("tiny@2")
            shutil.rmtree(tmp_path / "tiny" / "3")
            shutil.rmtree(tmp_path / "tiny" / "2")
            load.wait_for("tiny@1")
            process.wait_for("model tiny@2 is out of service")
        finally:
            load.stop()
        for each in running:
            each.result()
        assert load.endings.keys() == {(200, "tiny@1"), (200, "tiny@2")}
        (only,) = httpx.get(f"{address}/v1/models").json()["models"]
        assert (only["name"], only["version"], only["role"]) == ("tiny", "1", "default")
