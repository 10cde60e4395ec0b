"""`python -m app serve`: in this process as far as it fails early, else as a process of its own.

Of those only the ones that say something of the model have a network.
"""

from __future__ import annotations

import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from app.__main__ import cli
from app.cli.serve import processes
from app.settings import Settings
from tests.support.images import pixels, plain, png
from tests.support.servers import PATIENCE_S, failing, serving


def test_unknown_setting_is_refused(runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATTE_MAX_QUEU", "4")
    result = runner.invoke(cli, ["serve"])
    assert result.exit_code == 1
    assert "unknown setting: MATTE_MAX_QUEU" in result.output


def test_service_whose_model_cannot_load_stops_with_the_reason(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MATTE_MODEL_DIR", str(tmp_path / "none"))
    result = runner.invoke(cli, ["serve", "--port", "0"])
    assert result.exit_code == 1
    assert "no such model directory" in result.stderr
    assert "Traceback" not in result.output


def test_file_of_keys_that_cannot_be_read_stops_the_service_before_the_model_loads(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "keys.txt").write_text("shop secret\n")
    monkeypatch.setenv("MATTE_API_KEYS_FILE", str(tmp_path / "keys.txt"))
    result = runner.invoke(cli, ["serve", "--port", "0"])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"MATTE_API_KEYS_FILE: {tmp_path / 'keys.txt'}: line 1 is not")
    assert "secret" not in result.output


def test_taken_port_is_said_before_the_model_loads(runner: CliRunner) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = runner.invoke(cli, ["serve", "--port", str(taken.getsockname()[1])])
    assert result.exit_code == 1
    assert "Address already in use" in result.stderr


@pytest.mark.parametrize(
    ("chosen", "gpus", "expected"),
    [
        ({"cores": 16}, 0, (1, 1)),
        ({"cores": 16}, 1, (1, 1)),
        ({"cores": 16, "workers": 0}, 0, (1, 1)),
        ({"cores": 16, "workers": 0}, 1, (4, 1)),
        ({"cores": 2, "workers": 0}, 1, (1, 1)),
        ({"cores": 64, "workers": 0}, 2, (16, 2)),
        ({"cores": 2, "workers": 0}, 2, (1, 2)),
        ({"cores": 16, "workers": 3}, 0, (3, 1)),
        ({"cores": 16, "workers": 0, "device": "cpu"}, 2, (1, 1)),
        ({"cores": 16, "runtime": "openvino", "workers": 2}, 2, (2, 1)),
    ],
)
def test_processes_are_chosen_by_gpus_and_cores(
    chosen: dict[str, object], gpus: int, expected: tuple[int, int]
) -> None:
    assert processes(Settings(**chosen), gpus) == expected  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(("runtime", "with_tensorflow"), [("auto", False), ("tensorflow", True)])
def test_tensorflow_is_only_loaded_where_it_runs_the_network(
    tiny_artifact: Path, runtime: str, with_tensorflow: bool
) -> None:
    with (
        serving(tiny_artifact, MATTE_RUNTIME=runtime) as (process, address),
        httpx.Client(base_url=address, timeout=PATIENCE_S) as client,
    ):
        assert client.post("/v1/matte", files={"image": png(plain(90))}).status_code == 200
        (model,) = client.get("/v1/models").json()["models"]
        mapped = Path(f"/proc/{process.child.pid}/maps").read_text()
    assert model["runtime"] == ("tensorflow" if with_tensorflow else "openvino")
    assert ("libtensorflow_framework" in mapped) is with_tensorflow


def inside(client: httpx.Client) -> float:
    page = client.get("/metrics").text
    return float(page.split("\nmatte_inflight ")[1].split("\n")[0])


@pytest.mark.slow
def test_sigterm_under_load_finishes_accepted_requests_and_exits_0(tiny_artifact: Path) -> None:
    # Five photos of 12 megapixels, decoded by one thread, so they are inside when the signal comes.
    waiting = {"MATTE_CPU_THREADS": "1", "MATTE_MAX_BATCH_SIZE": "8", "MATTE_API_KEYS": "k"}
    with (
        serving(tiny_artifact, **waiting) as (process, address),
        ThreadPoolExecutor(5) as pool,
        httpx.Client(base_url=address, headers={"X-Api-Key": "k"}, timeout=PATIENCE_S) as client,
    ):
        values = [10, 60, 110, 160, 210]
        photos = [png(plain(value, 3_000, 4_000)) for value in values]
        posts = [pool.submit(client.post, "/v1/matte", files={"image": photo}) for photo in photos]
        deadline = time.monotonic() + PATIENCE_S
        while inside(client) < 5:
            assert time.monotonic() < deadline
        process.child.send_signal(signal.SIGTERM)
        answers = [post.result() for post in posts]
        assert [answer.status_code for answer in answers] == [200] * 5
        for answer, value in zip(answers, values, strict=True):
            assert abs(int(pixels(answer.content).mean()) - value) <= 2  # bfloat16
        assert process.child.wait(PATIENCE_S) == 0
        process.reader.join()
        requests = [line for line in process.lines if line["message"] == "request"]
        assert sum(line["route"] == "/v1/matte" for line in requests) == 5
        assert all("request_id" in line for line in requests)


def test_ctrl_c_stops_an_idle_service_with_0() -> None:
    with failing() as (process, address):
        assert httpx.get(f"{address}/readyz").status_code == 200
        process.child.send_signal(signal.SIGINT)
        assert process.child.wait(PATIENCE_S) == 0


def test_sigterm_while_the_model_loads_ends_at_once_with_0(tiny_artifact: Path) -> None:
    # TensorFlow takes seconds, so the signal comes first.
    with serving(tiny_artifact, ready=False, MATTE_RUNTIME="tensorflow") as (process, address):
        assert httpx.get(f"{address}/healthz").status_code == 200
        process.child.send_signal(signal.SIGTERM)
        assert process.child.wait(PATIENCE_S) == 0
        process.reader.join()
        assert "ready" not in [line["message"] for line in process.lines]


def test_refused_uploads_get_their_answers_over_a_real_connection() -> None:
    with failing(MATTE_MAX_UPLOAD_BYTES="1000000") as (_, address):
        answers = [
            httpx.post(f"{address}/v1/matte", files={"image": b"x" * size}, timeout=PATIENCE_S)
            for size in (1_100_000, 3_000_000, 30_000_000)
        ]
    assert [answer.status_code for answer in answers] == [413] * 3
    assert {answer.headers["connection"] for answer in answers} == {"close"}
