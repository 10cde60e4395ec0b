"""docker/healthcheck.py, as the container's engine runs it."""

import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docker" / "healthcheck.py"


def _check(port, **environment):
    told = {"PATH": os.environ["PATH"], "MATTE_PORT": str(port)} | environment
    return subprocess.run([sys.executable, SCRIPT], env=told, capture_output=True, text=True, check=False)


@contextmanager
def _answering(answer, host="127.0.0.1"):
    """A server that gives each caller the same bytes; what it was asked comes out as a list."""
    asked = []

    def serve(listener):
        caller, _ = listener.accept()
        with caller:
            asked.append(caller.recv(1000).decode())
            caller.sendall(answer)

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        thread = threading.Thread(target=serve, args=[listener], daemon=True)
        thread.start()
        yield listener.getsockname()[1], asked
        thread.join()


READY = b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"status":"ready"}'
LOADING = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\n\r\nnot_ready"


def test_ready_is_well():
    with _answering(READY) as (port, asked):
        done = _check(port)
    assert (done.returncode, done.stdout) == (0, '{"status":"ready"}\n')
    assert asked[0].startswith("GET /readyz HTTP/1.1")


def test_not_ready_is_ill_and_says_why():
    with _answering(LOADING) as (port, _):
        done = _check(port)
    assert done.returncode == 1
    assert "503 not_ready" in done.stderr


def test_silence_is_ill():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = _check(port)
    assert done.returncode == 1
    assert f"no answer from 127.0.0.1 port {port}" in done.stderr


def test_what_is_not_http_is_ill():
    with _answering(b"SSH-2.0\r\n\r\n") as (port, _):
        done = _check(port)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_a_proxy_for_the_way_out_plays_no_part():
    with _answering(READY) as (port, _):
        assert _check(port, HTTP_PROXY="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9").returncode == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "", "127.0.0.1"])
def test_the_address_is_the_services(host):
    with _answering(READY) as (port, _):
        assert _check(port, MATTE_HOST=host).returncode == 0


@pytest.mark.parametrize("host", ["::", "::1"])
def test_the_address_may_be_of_ipv6(host):
    try:
        server = _answering(READY, "::1")
        port, _ = server.__enter__()
    except OSError:
        pytest.skip("no IPv6 here")
    assert _check(port, MATTE_HOST=host).returncode == 0
    server.__exit__(None, None, None)
