"""Faults of the network, the machine and whoever starts the service, on real processes wherever that matters.

Most have a network that fails to order (`tests.support.fault_injection`) instead of TensorFlow, and so start in a
second.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import httpx
import pytest
from typer.testing import CliRunner

from app.__main__ import cli
from model import contract
from tests.support import fault_injection
from tests.support.images import pixels, plain, png
from tests.support.servers import PATIENCE_S, ROOT, failing, serving_quickly
from tests.support.services import Running


def post(address: str, value: int, side: int = 24) -> httpx.Response:
    photo = png(plain(value, side, side))
    return httpx.post(f"{address}/v1/matte", files={"image": photo}, timeout=PATIENCE_S, verify=False)


def served(address: str) -> bool:
    """Whether a photo that nothing is wrong with gets its matte."""
    answer = post(address, 99)
    return answer.status_code == 200 and bool((pixels(answer.content) == 99).all())


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["code"]


def until_inside(address: str, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while f"\nmatte_inflight {count}.0\n" not in httpx.get(f"{address}/metrics").text:
        assert time.monotonic() < deadline


@contextmanager
def loaded(address: str, *values: int) -> Iterator[list[Future[httpx.Response]]]:
    """A photo of each value on its way, all of them inside."""
    with ThreadPoolExecutor(len(values)) as pool:
        posts = [pool.submit(post, address, value) for value in values]
        until_inside(address, len(values))
        yield posts


# --- the network ---


def test_each_failure_of_the_network_is_answered_and_the_next_photo_is_served() -> None:
    with failing() as (_, address):
        for value, end in {
            fault_injection.RAISES: (500, "internal"),
            fault_injection.NOT_FINITE: (500, "internal"),
            fault_injection.WRONG_SHAPE: (500, "internal"),
            fault_injection.NO_MEMORY: (503, "out_of_memory"),
        }.items():
            assert code(failed := post(address, value)) == end
            assert ("retry-after" in failed.headers) == (end[0] == 503)
            assert served(address)
        assert httpx.get(f"{address}/readyz").status_code == 200
        assert 'matte_out_of_memory_total{step="batch"} 1.0' in httpx.get(f"{address}/metrics").text


@pytest.mark.slow
def test_network_that_hangs_turns_the_service_red_and_then_ends_it(tmp_path: Path) -> None:
    with (tmp_path / "errors").open("w+") as errors:
        # On a busy machine the two photos take more than a second to get in.
        limit = {"MATTE_STUCK_AFTER_MS": "4000", "MATTE_LANES": "1"}
        with failing(**limit, errors=errors) as (process, address):  # type: ignore[arg-type]
            with loaded(address, fault_injection.HANGS, 99) as inside:
                assert [code(each.result()) for each in inside] == [(503, "not_ready")] * 2
            red = httpx.get(f"{address}/readyz")
            assert code(red) == (503, "not_ready")
            assert "A batch has been running for" in red.text
            assert httpx.get(f"{address}/healthz").status_code == 200
            assert code(post(address, 99)) == (503, "not_ready")
            assert "matte_stuck_total 1.0" in httpx.get(f"{address}/metrics").text
            assert process.child.wait(PATIENCE_S) == os.EX_SOFTWARE
            process.reader.join()
            assert "A batch has been running" in str(process.lines[-1]["message"])
        errors.seek(0)
        assert "in hang" in errors.read()  # where the thread was


def test_event_loop_that_hangs_ends_the_process() -> None:
    with failing(MATTE_STUCK_AFTER_MS="250") as (process, _):
        process.child.send_signal(signal.SIGUSR1)
        assert process.child.wait(PATIENCE_S) == os.EX_SOFTWARE
        assert process.wait_for("The event loop has not answered")


# --- signals ---


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_signal_under_load_finishes_accepted_requests_and_exits_0(
    sent: signal.Signals, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    with failing(gate=gate) as (process, address):
        with loaded(address, *[fault_injection.WAITS] * 4) as inside:
            process.child.send_signal(sent)
            process.wait_for("Shutting down")
            with pytest.raises(httpx.ConnectError):
                post(address, 99)
            process.child.send_signal(signal.SIGTERM)  # An impatient supervisor: nothing is lost by it.
            gate.touch()
            assert [each.result().status_code for each in inside] == [200] * 4
        assert process.child.wait(PATIENCE_S) == 0


def test_second_ctrl_c_waits_for_nothing() -> None:
    with failing(MATTE_DRAIN_TIMEOUT_MS="600000") as (process, address), ThreadPoolExecutor(1) as pool:
        lost = pool.submit(post, address, fault_injection.HANGS)
        until_inside(address, 1)
        for _ in range(2):
            process.child.send_signal(signal.SIGINT)
            process.wait_for("Shutting down")
        assert process.child.wait(PATIENCE_S) == 0
        assert lost.exception() or lost.result().is_server_error


def test_what_hangs_at_the_drain_deadline_is_told_and_left_behind() -> None:
    with failing(MATTE_DRAIN_TIMEOUT_MS="500") as (process, address):
        with loaded(address, fault_injection.HANGS) as inside:
            process.child.send_signal(signal.SIGTERM)
            assert code(inside[0].result()) == (503, "not_ready")
        assert process.child.wait(PATIENCE_S) == 0


def test_after_kill_9_under_load_a_new_process_serves_on_the_same_port_at_once() -> None:
    with failing() as (process, address), ThreadPoolExecutor(4) as pool:
        lost = [pool.submit(post, address, fault_injection.HANGS) for _ in range(4)]
        until_inside(address, 4)
        process.child.kill()
        assert all(isinstance(each.exception(), httpx.TransportError) for each in lost)
        with failing(port=httpx.URL(address).port or 0) as (_, again):
            assert again == address
            assert served(again)


# --- the model ---


def _without_manifest(artifact: Path) -> None:
    (artifact / contract.MANIFEST_FILE).unlink()


def _no_json(artifact: Path) -> None:
    (artifact / contract.MANIFEST_FILE).write_text("{")


def _tampered(artifact: Path) -> None:
    weights = _weights(artifact)
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)


def _cut_off(artifact: Path) -> None:
    os.truncate(_weights(artifact), 10)


def _gone(artifact: Path) -> None:
    _weights(artifact).unlink()


def _locked(artifact: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    _weights(artifact).chmod(0)


def _weights(artifact: Path) -> Path:
    return next((artifact / contract.SAVED_MODEL_DIR / "variables").glob("*.data*"))


@pytest.mark.parametrize("damage", [_without_manifest, _no_json, _tampered, _cut_off, _gone, _locked])
def test_damaged_model_ends_the_start_with_1_and_one_sentence(
    damage: Callable[[Path], None], tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = shutil.copytree(tiny_artifact, tmp_path / "model")
    damage(artifact)
    monkeypatch.setenv("MATTE_MODEL_DIR", str(artifact))
    result = CliRunner().invoke(cli, ["serve", "--port", "0"])
    assert result.exit_code == 1
    assert str(artifact) in result.stderr
    assert len(result.stderr.splitlines()) == 1


# --- disks ---


def test_service_needs_no_disk_at_all(tiny_artifact: Path) -> None:
    nowhere = {"HOME": "/nowhere", "TMPDIR": "/nowhere", "MATTE_MAX_BATCH_SIZE": "1"}
    with serving_quickly(tiny_artifact, limits="ulimit -f 0", **nowhere) as (_, address):
        answer = post(address, 99, side=2_000)
    assert answer.status_code == 200


WRITES = """
import pathlib, sys
from app.cli import files
files.write(pathlib.Path(sys.argv[1]), b"half of it")
"""


def test_full_disk_leaves_no_half_file_and_the_old_one_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "matte.png"
    target.touch()
    # No file of that process may have a byte.
    done = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -f 0; exec "$@"', "sh", sys.executable, "-c", WRITES, str(target)],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert [(each.name, each.stat().st_size) for each in tmp_path.iterdir()] == [("matte.png", 0)]


def test_command_line_says_that_the_disk_is_full(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(png(plain(99)))
    with failing() as (_, address), Path("/dev/full").open("w") as full:
        program = [sys.executable, "-m", "app", "matte", str(photo), "--url", address, "-o"]
        for out in (tmp_path / "folder", tmp_path / "matte.png", "-"):
            done = subprocess.run(
                ["/bin/sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *program, str(out)],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
                cwd=ROOT,
                timeout=PATIENCE_S,
            )
            assert done.returncode == 1
            assert "No space left" in done.stderr or "File too large" in done.stderr
            assert "Traceback" not in done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [photo]


# --- file descriptors, memory, clocks ---


def test_more_connections_than_file_descriptors_let_everybody_in_whose_request_comes() -> None:
    with failing(limits="ulimit -n 128") as (_, address), _idle_connections(address, 200):
        assert served(address)
        assert httpx.get(f"{address}/readyz").status_code == 200


def test_service_without_file_descriptors_lives_on_without_haste_and_serves_when_it_has_some() -> None:
    with failing() as (process, address):
        # Fewer than it counts on: somebody else may have lowered the limit, or a library may have used them up.
        resource.prlimit(process.child.pid, resource.RLIMIT_NOFILE, (40, 40))
        with _idle_connections(address, 100):
            before = _cpu_seconds(process.child.pid)
            with pytest.raises(subprocess.TimeoutExpired):  # It lives,
                process.child.wait(1)
            assert _cpu_seconds(process.child.pid) - before < 0.5  # and does not go round in circles.
        ends = time.monotonic() + PATIENCE_S
        while not _let_in(address):
            assert time.monotonic() < ends


def _let_in(address: str) -> bool:
    """Whether a photo is served. Until it has seen that others have gone, it lets nobody in."""
    try:
        return served(address)
    except httpx.TransportError:
        return False


@contextmanager
def _idle_connections(address: str, count: int) -> Iterator[None]:
    url = httpx.URL(address)
    with ExitStack() as idle:
        for _ in range(count):
            idle.enter_context(socket.create_connection((url.host, url.port or 0)))
        yield


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_photo_that_memory_is_too_short_for_is_asked_to_come_back_and_the_next_is_served() -> None:
    # 49 megapixels take 147 MB decoded; its file has 150 kB.
    with failing() as (process, address):
        used = int(Path(f"/proc/{process.child.pid}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(process.child.pid, resource.RLIMIT_AS, (used + 100_000_000, resource.RLIM_INFINITY))
        assert code(post(address, 99, side=7_000)) == (503, "out_of_memory")
        assert served(address)
        assert 'matte_out_of_memory_total{step="photo"} 1.0' in httpx.get(f"{address}/metrics").text


async def test_clock_that_jumps_changes_no_deadline_and_no_duration(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"request_timeout_ms": 20_000, "body_timeout_ms": 20_000, "stuck_after_ms": 20_000}
    async with running(**limits) as service:
        real = time.time()
        for jumped in (real + 1e6, real - 1e6, 0.0):
            monkeypatch.setattr(time, "time", lambda jumped=jumped: jumped)
            answer = await service.post(png(plain(99)))
            assert answer.status_code == 200
            stages = [float(stage.split("dur=")[1]) for stage in answer.headers["server-timing"].split(", ")]
            assert 0 <= min(stages) <= max(stages) < 20_000
            assert (await service.client.get("/readyz")).status_code == 200


# --- logs ---


@contextmanager
def _logging_to(stdout: IO[bytes] | int, limits: str = ":") -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process and its address, on a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = [sys.executable, "-m", "tests.support.fault_injection", str(port)]
    command = ["/bin/sh", "-c", f'{limits}; exec "$@"', "sh", *program]
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, cwd=ROOT, stdout=stdout, stderr=subprocess.DEVNULL) as child:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not _ready(address):
                assert time.monotonic() < deadline
                assert child.poll() is None
            yield child, address
            child.terminate()
            assert child.wait(PATIENCE_S) == 0
        finally:
            child.kill()


def _ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_log_reader_that_stops_reading_holds_nobody_up_and_loses_no_line_that_there_is_room_for() -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4_096)
    with (
        os.fdopen(reading, encoding="utf-8") as log,
        os.fdopen(writing, "wb") as pipe,
        _logging_to(pipe) as (_, address),
    ):
        pipe.close()
        with httpx.Client(base_url=address) as client:
            for _ in range(50):  # Their lines fill the pipe several times.
                assert client.get("/healthz").status_code == 200
        assert served(address)
        routes = []
        while "/v1/matte" not in routes:
            routes.append(json.loads(log.readline()).get("route"))
        assert routes.count("/healthz") == 50


def test_log_on_a_full_disk_holds_nobody_up() -> None:
    with Path("/dev/full").open("wb") as full, _logging_to(full) as (_, address):
        assert served(address)


def test_closed_standard_streams_are_no_sockets_of_clients() -> None:
    with _logging_to(subprocess.DEVNULL, "exec <&- >&- 2>&-") as (child, address):
        assert served(address)
        ends = [Path(f"/proc/{child.pid}/fd/{number}").readlink() for number in range(3)]
        assert ends == [Path(os.devnull)] * 3
