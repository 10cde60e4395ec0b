"""nginx with docker/proxy's configuration, as a process of its own, in front of replicas that a test makes up."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docker" / "proxy"
PATIENCE_S = 30


@dataclass
class Request:
    """What a replica was asked, and what answers it."""

    path: str
    headers: Message
    body: bytes
    answer: Callable[..., None]
    break_off: Callable[[], None]


Behaviour = Callable[[Request], None]


def all_well(request: Request) -> None:
    request.answer(200, b"matte")


@dataclass
class Replica:
    """An HTTP server that does what `behaviour` says, and remembers what it was asked."""

    behaviour: Behaviour
    requests: list[Request] = field(default_factory=list)
    address: str = ""


@contextmanager
def replica(behaviour: Behaviour = all_well) -> Iterator[Replica]:
    made = Replica(behaviour)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = Request(self.path, self.headers, body, self._answer, self._break_off)
            made.requests.append(request)
            made.behaviour(request)

        do_GET = do_POST = _serve  # noqa: N815

        def _answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def _break_off(self) -> None:
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Proxy:
    """nginx, its ports, and what it logged."""

    child: subprocess.Popen[str]
    work: Path
    ports: dict[str, int]

    def tls(self) -> ssl.SSLContext:
        """Believes the certificate that start.sh made, and nothing else."""
        return ssl.create_default_context(cafile=str(self.work / "tls.crt"))

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, Message, bytes]:
        connection = http.client.HTTPSConnection(
            "localhost", self.ports["HTTPS"], timeout=PATIENCE_S, context=self.tls()
        )
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def log(self) -> list[dict[str, object]]:
        """The access log. nginx writes a line after the answer, so it is read when nginx has ended."""
        self.child.send_signal(3)
        assert self.child.wait(PATIENCE_S) == 0
        return [json.loads(line) for line in (self.work / "access.log").read_text("utf-8").splitlines()]


def environment(work: Path, replicas: str, **changes: str) -> dict[str, str]:
    """What start.sh is told."""
    return {
        "PATH": os.environ["PATH"] + ":/usr/sbin",
        "PROXY_WORK": str(work),
        "PROXY_CERTS": str(work),
        "PROXY_ACCESS_LOG": str(work / "access.log"),
        "PROXY_REPLICAS": replicas,
    } | changes


@contextmanager
def folder() -> Iterator[Path]:
    """One that nginx's workers may enter, who are nobody when nginx is started by root; pytest's are its own."""
    made = Path(tempfile.mkdtemp(prefix="proxy-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)


@contextmanager
def proxy(*replicas: str, **changes: str) -> Iterator[Proxy]:
    ports = free_ports("HTTPS", "HTTP", "HEALTH")
    with ExitStack() as stack:
        work = stack.enter_context(folder())
        told = {f"PROXY_{name}_PORT": str(port) for name, port in ports.items()}
        child = subprocess.Popen(
            [str(FOLDER / "start.sh")],
            env=environment(work, " ".join(replicas), **told, **changes),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert child.stderr is not None
        # Its sockets listen before the first worker starts.
        started = any("start worker process " in line for line in child.stderr)
        reader = threading.Thread(target=child.stderr.read, daemon=True)
        reader.start()
        try:
            assert started, "nginx did not start"
            yield Proxy(child, work, ports)
        finally:
            child.terminate()
            child.wait(PATIENCE_S)
            reader.join(PATIENCE_S)
            child.stderr.close()


def free_ports(*names: str) -> dict[str, int]:
    with ExitStack() as stack:
        sockets = {name: stack.enter_context(socket.create_server(("127.0.0.1", 0))) for name in names}
        return {name: each.getsockname()[1] for name, each in sockets.items()}
