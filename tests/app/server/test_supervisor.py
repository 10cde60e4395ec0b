"""Several processes behind one port: shares of cores, and real workers that are killed."""

from __future__ import annotations

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app.server.supervisor import InferenceProcess, WorkerProcess, count_gpus, share_of, socket_paths
from tests.support.images import pixels, plain, png
from tests.support.servers import PATIENCE_S, Process, serving_quickly

TWO = {"MATTE_WORKERS": "2", "MATTE_LANES": "1", "MATTE_MAX_BATCH_SIZE": "1"}


@pytest.mark.parametrize(
    ("cores", "count", "shares"),
    [
        (4, 2, [[0, 1], [2, 3]]),
        (5, 2, [[0, 1], [2, 3, 4]]),
        (3, 3, [[0], [1], [2]]),
        (1, 2, [[], []]),
    ],
)
def test_each_worker_has_cores_of_its_own(cores: int, count: int, shares: list[list[int]]) -> None:
    assert [share_of(list(range(cores)), number, count) for number in range(count)] == shares


def test_each_process_is_told_in_one_word_what_it_is() -> None:
    worker = WorkerProcess(1, 2, 7, socket_paths(Path("/tmp/a folder: x"), 3))
    assert WorkerProcess.parse(str(worker)) == worker
    inference = InferenceProcess(1, 2, 4, 8)
    assert InferenceProcess.parse(str(inference)) == inference
    with pytest.raises(ValueError, match="NUMBER/COUNT:DESCRIPTOR"):
        WorkerProcess.parse("1/2")
    with pytest.raises(ValueError, match="NUMBER/COUNT:WORKERS"):
        InferenceProcess.parse("1/2:3")


def test_inference_processes_have_names_of_their_own() -> None:
    assert InferenceProcess(0, 1, 4, 8).name == "inference"
    assert InferenceProcess(1, 2, 4, 8).name == "inference-1"


def test_gpus_are_those_that_the_process_may_open(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert count_gpus(tmp_path) == 2


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def workers_of(pid: int) -> list[int]:
    """The children that are no inference process."""
    return [each for each in children(pid) if each not in inference_of(pid)]


def inference_of(pid: int) -> list[int]:
    """The children that run networks."""
    return [each for each in children(pid) if b"--inference" in Path(f"/proc/{each}/cmdline").read_bytes()]


def workers_ready(process: Process, count: int) -> set[object]:
    """Wait for so many lines "ready"; gives the workers that wrote one."""

    def ready() -> list[object]:
        return [line.get("worker") for line in process.lines if line["message"] == "ready"]

    with process.arrived:
        assert process.arrived.wait_for(lambda: len(ready()) >= count, PATIENCE_S), process.lines
    return set(ready())


@pytest.mark.slow
def test_killed_worker_is_replaced_while_the_others_serve_and_sigterm_ends_all(tiny_artifact: Path) -> None:
    with (
        serving_quickly(tiny_artifact, ready=False, **TWO) as (process, address),
        httpx.Client(base_url=address, timeout=PATIENCE_S) as client,
        ThreadPoolExecutor(4) as pool,
    ):
        assert workers_ready(process, 2) == {0, 1}
        pair = workers_of(process.child.pid)
        assert len(pair) == 2
        (network,) = inference_of(process.child.pid)
        if len(os.sched_getaffinity(0)) >= 2:
            assert os.sched_getaffinity(pair[0]).isdisjoint(os.sched_getaffinity(pair[1]))
        os.kill(pair[0], signal.SIGKILL)
        # Each on a connection of its own: none is taken by a process that cannot serve it.
        photo = {"image": png(plain(77))}
        posts = [
            pool.submit(httpx.post, f"{address}/v1/matte", files=photo, timeout=PATIENCE_S) for _ in range(12)
        ]
        answers = [post.result() for post in posts]
        assert {answer.status_code for answer in answers} == {200}
        assert abs(int(pixels(answers[0].content).mean()) - 77) <= 1
        workers_ready(process, 3)
        again = children(process.child.pid)
        assert len(again) == 3
        assert {pair[1], network} <= set(again)
        assert client.get("/readyz").status_code == 200
        process.child.send_signal(signal.SIGTERM)
        assert process.child.wait(PATIENCE_S) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in again)
    (line,) = [line for line in process.lines if "ended with status" in str(line["message"])]
    assert "worker 0 ended with status -9" in str(line["message"])


@pytest.mark.slow
def test_rate_limit_holds_for_all_workers_together(tiny_artifact: Path) -> None:
    with serving_quickly(tiny_artifact, ready=False, MATTE_RATE_PER_MINUTE="5", **TWO) as (process, address):
        workers_ready(process, 2)
        photo = {"image": png(plain(77))}
        answers = [httpx.post(f"{address}/v1/matte", files=photo, timeout=PATIENCE_S) for _ in range(24)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 19
        assert [answer.headers["X-RateLimit-Remaining"] for answer in answers[:6]] == [
            "4",
            "3",
            "2",
            "1",
            "0",
            "0",
        ]


@pytest.mark.slow
def test_each_worker_answers_at_its_own_port_and_ends_with_the_process_that_keeps_it(
    tiny_artifact: Path,
) -> None:
    base = _two_free_ports()
    with (
        httpx.Client(timeout=PATIENCE_S) as client,
        serving_quickly(tiny_artifact, ready=False, MATTE_WORKER_PORT=str(base), **TWO) as (process, address),
    ):
        workers_ready(process, 2)
        for number in range(2):
            own = f"http://127.0.0.1:{base + number}"
            for _ in range(number + 1):
                assert client.post(f"{own}/v1/matte", files={"image": png(plain(1))}).status_code == 200
            page = client.get(f"{own}/metrics").text
            assert f'matte_requests_total{{route="/v1/matte",status="200"}} {number + 1}.0' in page
        page = client.get(f"{address}/metrics").text
        for number in range(2):
            counted = f'{{worker="{number}",route="/v1/matte",status="200"}} {number + 1}.0'
            assert f"matte_requests_total{counted}" in page
        assert 'matte_batch_size_sum{worker="inference"} 3.0' in page
        all_of_them = children(process.child.pid)
        assert len(all_of_them) == 3
        told = Path(f"/proc/{workers_of(process.child.pid)[0]}/cmdline").read_bytes().split(b"\0")
        folder = WorkerProcess.parse(told[told.index(b"--member") + 1].decode()).inference[0].parent
        assert folder.stat().st_mode & 0o777 == 0o700
        process.child.kill()
        deadline = time.monotonic() + PATIENCE_S
        while any(_runs(pid) for pid in all_of_them) or folder.exists():
            assert time.monotonic() < deadline


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_model_that_cannot_be_loaded_ends_all_with_the_reason(tmp_path: Path) -> None:
    errors = tmp_path / "errors"
    with (
        errors.open("w") as file,
        serving_quickly(tmp_path, ready=False, errors=file, MATTE_WORKERS="2") as (process, _),
    ):
        assert process.child.wait(PATIENCE_S) == 1
    assert "manifest.json: missing" in errors.read_text()


def _two_free_ports() -> int:
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port
