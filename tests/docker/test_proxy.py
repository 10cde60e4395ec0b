"""docker/proxy: nginx's limits are the service's, and no good request is lost while one replica lives."""

import json
import re
import shutil
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.settings import Settings
from tests.docker.proxied import FOLDER, PATIENCE_S, environment, folder, free_ports, proxy, replica

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
TEMPLATE = (FOLDER / "nginx.conf.in").read_text(encoding="utf-8")
DEFAULTS = Settings.model_construct()
needs_nginx = pytest.mark.skipif(
    shutil.which("nginx", path=PATH) is None or shutil.which("openssl") is None,
    reason="nginx or openssl is not installed",
)


def _seconds(directive):
    return [int(value) for value in re.findall(rf"^ *{directive} (\d+)s;", TEMPLATE, flags=re.MULTILINE)]


def test_body_limit_is_the_services():
    assert (
        f"bytes=${{MATTE_MAX_UPLOAD_BYTES:-{DEFAULTS.max_upload_bytes}}}" in (FOLDER / "start.sh").read_text()
    )


def test_a_kept_connection_is_let_go_before_the_service_closes_it():
    assert min(_seconds("keepalive_timeout")) * 1000 < DEFAULTS.keep_alive_ms


def test_the_services_own_deadline_comes_first():
    (read,) = _seconds("proxy_read_timeout")
    (shutdown,) = _seconds("worker_shutdown_timeout")
    assert read * 1000 > DEFAULTS.request_timeout_ms
    assert shutdown * 1000 > DEFAULTS.request_timeout_ms


@pytest.mark.parametrize(
    "wrong",
    [
        {"MATTE_MAX_UPLOAD_BYTES": "25m; deny all"},
        {"PROXY_REPLICAS": "10.0.0.1:80;"},
        {"PROXY_REPLICAS": ""},
        {"PROXY_PER_ADDRESS": "-1"},
        {"PROXY_ACCESS_LOG": "off; deny all"},
        {"PROXY_CERTS": "certs"},
    ],
    ids=str,
)
def test_what_would_be_a_directive_is_refused(tmp_path, wrong):
    told = environment(tmp_path, "127.0.0.1:1") | wrong
    done = subprocess.run([FOLDER / "start.sh", "-t"], env=told, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert next(iter(wrong)) in done.stderr
    assert not (tmp_path / "nginx.conf").exists()


@needs_nginx
def test_configuration_is_valid():
    with folder() as work:
        ports = {
            f"PROXY_{name}_PORT": str(port) for name, port in free_ports("HTTPS", "HTTP", "HEALTH").items()
        }
        told = environment(work, "127.0.0.1:8001 127.0.0.1:8002", **ports)
        done = subprocess.run(
            [FOLDER / "start.sh", "-t"], env=told, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "warn" not in done.stderr.replace("[notice]", "")
        assert (work / "tls.key").stat().st_mode & 0o077 == 0


@needs_nginx
def test_a_photo_reaches_a_replica_with_what_it_must_know():
    photo = b"photo " * 400_000  # More than fits in nginx's memory buffer.
    with replica() as only, proxy(only.address) as nginx:
        status, _, body = nginx.ask(
            "POST",
            "/v1/matte?size=full",
            photo,
            X_Forwarded_For="203.0.113.9",
            X_Forwarded_Prefix="/elsewhere",
            X_Request_Id="mine-1",
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        (request,) = only.requests
    assert (status, body) == (200, b"matte")
    assert request.body == photo
    assert request.path == "/v1/matte?size=full"
    assert request.headers["X-Forwarded-For"] == "127.0.0.1"
    assert request.headers["X-Forwarded-Proto"] == "https"
    assert "X-Forwarded-Prefix" not in request.headers
    assert request.headers["X-Request-Id"] == "mine-1"
    assert request.headers["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c")


@needs_nginx
def test_http2_is_spoken():
    with replica() as only, proxy(only.address) as nginx:
        tls = nginx.tls()
        tls.set_alpn_protocols(["h2", "http/1.1"])
        address = ("127.0.0.1", nginx.ports["HTTPS"])
        with (
            socket.create_connection(address, PATIENCE_S) as plain,
            tls.wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            assert secured.selected_alpn_protocol() == "h2"


@needs_nginx
def test_a_body_too_large_is_refused_in_the_services_words():
    with replica() as only, proxy(only.address, MATTE_MAX_UPLOAD_BYTES="1000") as nginx:
        status, headers, body = nginx.ask("POST", "/v1/matte", b"x" * 1001, X_Request_Id="mine-2")
        assert only.requests == []
        assert nginx.ask("POST", "/v1/matte", b"x" * 1000)[0] == 200
    assert status == 413
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body)["errors"][0]["code"] == "file_too_large"
    assert json.loads(body)["request_id"] == headers["X-Request-Id"] == "mine-2"


@needs_nginx
def test_nothing_is_lost_when_a_replica_is_gone():
    with replica() as gone:
        dead = gone.address
    with replica() as alive, proxy(dead, alive.address) as nginx:
        assert [nginx.ask("POST", "/v1/matte", b"x")[0] for _ in range(6)] == [200] * 6
        assert len(alive.requests) == 6


@needs_nginx
@pytest.mark.parametrize(
    "fault",
    [lambda request: request.break_off(), lambda request: request.answer(503, b"{}")],
    ids=["dies", "503"],
)
def test_a_photo_is_repeated_where_its_replica_fails(fault):
    with replica(fault) as bad, replica() as good, proxy(bad.address, good.address) as nginx:
        answers = [nginx.ask("POST", "/v1/cutout", b"x") for _ in range(4)]
    assert [(status, body) for status, _, body in answers] == [(200, b"matte")] * 4
    assert bad.requests


@needs_nginx
def test_what_may_change_something_is_not_sent_twice():
    def breaks(request):
        request.break_off()

    with replica(breaks) as one, replica(breaks) as two, proxy(one.address, two.address) as nginx:
        status, headers, body = nginx.ask("POST", "/somewhere", b"x")
    assert len(one.requests) + len(two.requests) == 1
    assert status == 503
    assert headers["Retry-After"]
    assert json.loads(body)["errors"][0]["code"] == "not_ready"


@needs_nginx
@pytest.mark.parametrize("status", [400, 429, 500, 504])
def test_other_answers_pass_as_they_are(status):
    def answer(request):
        request.answer(status, b"why", Retry_After="7")

    with replica(answer) as one, replica(answer) as two, proxy(one.address, two.address) as nginx:
        got, headers, body = nginx.ask("POST", "/v1/matte", b"x")
    assert (got, headers["Retry-After"], body) == (status, "7", b"why")
    assert len(one.requests) + len(two.requests) == 1


@needs_nginx
def test_metrics_are_not_for_the_world():
    with replica() as only, proxy(only.address) as nginx:
        for path in ("/metrics", "/metrics/", "//metrics", "/%6Detrics", "/below/metrics"):
            assert nginx.ask("GET", path)[0] == 404
        assert nginx.ask("GET", "/readyz")[0] == 200
        assert [request.path for request in only.requests] == ["/readyz"]


@needs_nginx
def test_the_log_has_no_query():
    with replica() as only, proxy(only.address) as nginx:
        nginx.ask("POST", "/v1/matte?bg_image_url=https://secret.example/me.jpg", b"x", X_Request_Id="mine-3")
        (line,) = nginx.log()
    assert "secret" not in json.dumps(line)
    assert (line["path"], line["status"], line["request_id"]) == ("/v1/matte", 200, "mine-3")


class Gate:
    """A replica's behaviour: answers when `opened` is set; `entered` tells that a request is waiting."""

    def __init__(self):
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self, request):
        self.entered.set()
        assert self.opened.wait(PATIENCE_S)
        request.answer(200, b"matte")


@needs_nginx
def test_one_address_gets_only_its_share():
    gate = Gate()
    with (
        replica(gate) as only,
        proxy(only.address, PROXY_PER_ADDRESS="1") as nginx,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(nginx.ask, "POST", "/v1/matte", b"x")
        assert gate.entered.wait(PATIENCE_S)
        status, headers, body = nginx.ask("POST", "/v1/matte", b"x")
        gate.opened.set()
        assert first.result()[0] == 200
    assert status == 429
    assert headers["Retry-After"] == "1"
    assert json.loads(body)["errors"][0]["code"] == "rate_limit_exceeded"


@needs_nginx
def test_a_request_in_the_making_is_finished_before_nginx_goes():
    gate = Gate()
    with replica(gate) as only, proxy(only.address) as nginx, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(nginx.ask, "POST", "/v1/matte", b"x")
        assert gate.entered.wait(PATIENCE_S)
        nginx.child.send_signal(3)  # SIGQUIT, the image's stop signal
        gate.opened.set()
        assert asked.result()[0] == 200
        assert nginx.child.wait(PATIENCE_S) == 0


@needs_nginx
def test_plain_http_is_sent_to_tls_and_health_is_told():
    with replica() as only, proxy(only.address) as nginx:
        with socket.create_connection(("127.0.0.1", nginx.ports["HTTP"]), PATIENCE_S) as plain:
            plain.sendall(b"GET /docs HTTP/1.0\r\nHost: example.org\r\n\r\n")
            answer = plain.makefile("rb").read()
        port = {"PROXY_HEALTH_PORT": str(nginx.ports["HEALTH"]), "PATH": PATH}
        healthy = subprocess.run([FOLDER / "healthcheck.sh"], env=port, check=False)
    ill = subprocess.run([FOLDER / "healthcheck.sh"], env=port, check=False, stderr=subprocess.DEVNULL)
    assert b" 308 " in answer.splitlines()[0]
    assert b"Location: https://example.org/docs" in answer
    assert (healthy.returncode, ill.returncode) == (0, 1)
