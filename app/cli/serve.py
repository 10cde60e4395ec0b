"""An address and the environment come in, a running service goes out. Knows no request."""

from __future__ import annotations

import logging
import os
import socket
import sys
from pathlib import Path
from typing import Final, NoReturn

from fastapi import FastAPI

from app.cli import exit
from app.inference.backends.select import OPENVINO
from app.main import Worker, create_app
from app.observability.logs import configure_logs, keep_standard_descriptors
from app.security.api_keys import KeysError
from app.server.connection_limits import ConnectionLimiter
from app.server.server import Server
from app.server.supervisor import (
    InferenceProcess,
    Plan,
    WorkerProcess,
    count_gpus,
    end_with_parent,
    remove_socket,
    supervise,
)
from app.settings import Settings, SettingsError, load_settings, visible_gpus
from model.kernels import COMPILED

PROGRAM: Final = (sys.executable, "-m", "app", "serve")
CORES_OF_A_WORKER: Final = 4
"""Beside a GPU. Python's lock keeps one process from using many more (docs/capacity.md)."""
_LAST_STEPS_S: Final = 10.0  # of a process that has drained

_log = logging.getLogger("app")


def serve(host: str | None, port: int | None, member: WorkerProcess | None = None) -> None:
    """Serve until a signal comes. `host` and `port`, where given, win over the environment. `member`: this process is
    one of several that serve the same port."""
    settings = _settings(host, port)
    keep_standard_descriptors()
    if member is None:
        configure_logs(settings.log_level)
        workers, inference = processes(settings)
        with _listen(settings.host, settings.port) as listener:
            if workers > 1 or inference > 1:
                _supervise(Plan(workers, inference, _command(host, port), _patience_s(settings)), listener)
            _serve(settings, [listener])
    else:
        configure_logs(settings.log_level, worker=member.number)
        settings = settings.model_copy(update={"cores": max(1, settings.core_count // member.count)})
        member.settle()
        _serve(settings, _sockets(settings, member), member)


def serve_inference(process: InferenceProcess) -> None:
    """Run networks for the workers of this host until a signal comes and they have left."""
    from app.inference.remote.process import Place, loader, run

    settings = _settings(None, None)
    keep_standard_descriptors()
    configure_logs(settings.log_level, worker=process.name)
    end_with_parent()
    parent, listener = os.getppid(), socket.socket(fileno=process.listener)
    path = Path(listener.getsockname())
    run(
        settings,
        listener,
        Place(process.name, process.number, process.workers),
        loader(settings, process.number),
    )
    if os.getppid() != parent:  # The supervisor was killed, and left its folder behind.
        remove_socket(path)
    exit.leave(0)


def processes(settings: Settings, gpus: int | None = None) -> tuple[int, int]:
    """How many workers and inference processes to run; 1 and 1 is a single process that does everything. `gpus`: else
    those of this host."""
    if settings.device == "cpu" or settings.runtime == OPENVINO:
        gpus = 0
    elif gpus is None:
        found, visible = count_gpus(), visible_gpus()
        gpus = found if visible is None else min(found, visible)
    automatic = max(1, settings.core_count // CORES_OF_A_WORKER) if gpus else 1
    return settings.workers or automatic, max(1, gpus)


def _supervise(plan: Plan, listener: socket.socket) -> NoReturn:
    try:
        status = supervise(plan, listener)
    except OSError as error:
        exit.fail(
            f"the sockets of the inference processes cannot be made: {error}; TMPDIR says where they go"
        )
    exit.leave(status)


def _serve(settings: Settings, sockets: list[socket.socket], member: WorkerProcess | None = None) -> None:
    if COMPILED is None:
        _log.warning("edges and cut-outs cost three times the CPU: there was no C compiler at installation")
    app = _app(settings, member)
    limiter = ConnectionLimiter(settings, app.state.metrics)
    server = Server(app, limiter, settings, app.state.pipeline.drain)
    app.state.on_load_failure = server.stop
    server.run(sockets=sockets)
    if app.state.load_failure is not None:
        exit.fail(str(app.state.load_failure))
    if app.state.loading.cancelled() or app.state.pipeline.busy:
        exit.leave(0)


def _settings(host: str | None, port: int | None) -> Settings:
    try:
        return load_settings(host=host, port=port)
    except SettingsError as error:
        exit.fail(str(error))


def _command(host: str | None, port: int | None) -> list[str]:
    """The command that starts each process."""
    given = {"--host": host, "--port": port}
    return [
        *PROGRAM,
        *(word for name, value in given.items() if value is not None for word in (name, str(value))),
    ]


def _patience_s(settings: Settings) -> float:
    """How long a worker may take to end before it is made to."""
    return settings.drain_timeout_ms / 1000 + _LAST_STEPS_S


def _sockets(settings: Settings, member: WorkerProcess) -> list[socket.socket]:
    """The one that all workers share, and one of its own, where it is asked what it alone can say."""
    shared = socket.socket(fileno=member.listener)
    own = settings.worker_port
    return [shared, *([_listen(settings.host, own + member.number)] if own else [])]


def _app(settings: Settings, member: WorkerProcess | None) -> FastAPI:
    try:
        return create_app(
            settings, worker=None if member is None else Worker(member.number, member.inference)
        )
    except KeysError as error:
        exit.fail(f"MATTE_API_KEYS_FILE: {error}")
    except SettingsError as error:
        exit.fail(str(error))


def _listen(host: str, port: int) -> socket.socket:
    """Done before the model loads, so that a taken port is known at once."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        exit.fail(f"cannot listen on {host} port {port}: {error.strerror}")
    name = f"[{host}]" if ":" in host else host
    _log.info("listening on http://%s:%d (Ctrl-C stops)", name, listener.getsockname()[1])
    return listener
