"""Real front ends and a real inference process, which is killed, exchanged and stopped under load."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.app.inference.test_repository_under_load import CLIENTS, Load
from tests.app.server.test_supervisor import TWO, inference_of, workers_of, workers_ready
from tests.support import fault_injection
from tests.support.images import plain, png, portrait
from tests.support.model_versions import put
from tests.support.servers import PATIENCE_S, failing, serving_quickly

pytestmark = pytest.mark.slow


@contextmanager
def loading(address: str) -> Iterator[Load]:
    """Clients that post while the context lasts. Each answer comes within the clients' patience."""
    load = Load(address)
    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(load.run) for _ in range(CLIENTS)]
        try:
            yield load
        finally:
            load.stop()
        for each in running:
            each.result()


def test_mattes_and_cutouts_are_the_same_bytes_as_of_one_process(tiny_artifact: Path) -> None:
    photo = png(portrait(120, 90))
    found = []
    for settings in ({"MATTE_WORKERS": "1"}, TWO):
        with serving_quickly(tiny_artifact, **settings) as (_, address):
            asked = [(path, q) for path in ("matte", "cutout") for q in ("standard", "high")]
            answers = [
                httpx.post(
                    f"{address}/v1/{path}",
                    files={"image": photo},
                    params={"quality": quality},
                    timeout=PATIENCE_S,
                )
                for path, quality in asked
            ]
        assert {answer.status_code for answer in answers} == {200}
        found.append([answer.content for answer in answers])
    assert found[0] == found[1]


def test_killed_inference_process_costs_503s_until_the_next_one_serves(tiny_artifact: Path) -> None:
    with serving_quickly(tiny_artifact, ready=False, **TWO) as (process, address):
        workers_ready(process, 2)
        before = workers_of(process.child.pid)
        with loading(address) as load:
            load.wait_for("tiny@1")
            (network,) = inference_of(process.child.pid)
            os.kill(network, signal.SIGKILL)
            process.wait_for("inference process ended with status -9")
            with httpx.Client(base_url=address, timeout=PATIENCE_S) as client:
                _until_ready(client)
                assert client.get("/healthz").status_code == 200
            load.wait_for("tiny@1")
        assert {status for status, _ in load.endings} <= {200, 503}
        assert workers_of(process.child.pid) == before
        assert inference_of(process.child.pid) != [network]
        process.child.send_signal(signal.SIGTERM)
        assert process.child.wait(PATIENCE_S) == 0


def test_sigterm_under_load_ends_all_with_0_and_answers_what_was_accepted(tiny_artifact: Path) -> None:
    with serving_quickly(tiny_artifact, ready=False, **TWO) as (process, address):
        workers_ready(process, 2)
        processes = workers_of(process.child.pid) + inference_of(process.child.pid)
        load = Load(address)
        with ThreadPoolExecutor(CLIENTS) as pool:
            running = [pool.submit(load.run) for _ in range(CLIENTS)]
            load.wait_for("tiny@1")
            process.child.send_signal(signal.SIGTERM)
            assert process.child.wait(PATIENCE_S) == 0
            load.stop()
        # Clients end because their connection is closed, or was never accepted.
        assert all(isinstance(each.exception(), httpx.TransportError | None) for each in running)
        assert {status for status, _ in load.endings} <= {200, 503}
        assert not any(Path(f"/proc/{pid}").exists() for pid in processes)


def test_models_come_and_go_in_all_processes_without_a_failed_request(
    tiny_artifact: Path, tmp_path: Path
) -> None:
    put(tmp_path, tiny_artifact, "1")
    with serving_quickly(tmp_path, ready=False, MATTE_MODEL_POLL_MS="50", **TWO) as (process, address):
        workers_ready(process, 2)
        with loading(address) as load:
            load.wait_for("tiny@1")
            put(tmp_path, tiny_artifact, "2")
            load.wait_for("tiny@2")
            process.wait_for("model tiny@1 is closed")  # by the inference process: nobody holds it any more
            put(tmp_path, tiny_artifact, "3", damaged=True)
            process.wait_for("model tiny@3 cannot be served")
            shutil.rmtree(tmp_path / "tiny" / "3")
            shutil.rmtree(tmp_path / "tiny" / "2")
            load.wait_for("tiny@1")
            process.wait_for("model tiny@2 is closed")
        assert load.endings.keys() == {(200, "tiny@1"), (200, "tiny@2")}


def test_batch_that_hangs_ends_the_inference_process_alone_and_the_service_recovers() -> None:
    with failing(MATTE_STUCK_AFTER_MS="500", MATTE_MAX_BATCH_SIZE="1", MATTE_WORKERS="2") as (
        process,
        address,
    ):
        workers_ready(process, 2)
        before = workers_of(process.child.pid)
        with httpx.Client(base_url=address, timeout=PATIENCE_S) as client, ThreadPoolExecutor(1) as pool:
            hanging = pool.submit(
                httpx.post,
                f"{address}/v1/matte",
                files={"image": png(plain(fault_injection.HANGS))},
                timeout=PATIENCE_S,
            )
            answer = hanging.result()
            assert answer.status_code == 503
            assert "A batch has been running for" in answer.json()["errors"][0]["detail"]
            process.wait_for("inference process ended with status 70")
            _until_ready(client)
            assert client.post("/v1/matte", files={"image": png(plain(77))}).status_code == 200
        assert workers_of(process.child.pid) == before


AS_IF_THERE_WERE_TWO_GPUS = """
from app.cli import serve
serve.processes = lambda _settings: (2, 2)
serve.serve(None, 0)
"""


def test_of_two_inference_processes_one_serves_while_the_other_is_replaced(tiny_artifact: Path) -> None:
    program = ("-c", AS_IF_THERE_WERE_TWO_GPUS)
    with serving_quickly(tiny_artifact, ready=False, program=program, **TWO) as (process, address):
        workers_ready(process, 2)
        before = inference_of(process.child.pid)
        assert len(before) == 2
        with loading(address) as load:
            load.wait_for("tiny@1")
            page = httpx.get(f"{address}/metrics").text
            for number in range(2):
                assert f'matte_ready{{worker="inference-{number}"}} 1.0' in page
            os.kill(before[0], signal.SIGKILL)
            process.wait_for("ended with status -9")
            with httpx.Client(base_url=address, timeout=PATIENCE_S) as client:
                assert client.get("/readyz").status_code == 200
            load.wait_for("tiny@1")
        # What the killed one had in hand: at most one square of each client.
        assert load.endings[503, ""] <= CLIENTS
        assert {status for status, _ in load.endings} <= {200, 503}
        process.child.send_signal(signal.SIGTERM)
        assert process.child.wait(PATIENCE_S) == 0


def _until_ready(client: httpx.Client) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline
