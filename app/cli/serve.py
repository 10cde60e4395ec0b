"""An address and the environment come in, a running service goes out. Knows no request."""

from __future__ import annotations

import logging
import socket
from typing import Final

from fastapi import FastAPI

from app.cli import exit
from app.main import create_app
from app.observability.logs import configure_logs, keep_standard_descriptors
from app.security.api_keys import KeysError
from app.server.connection_limits import ConnectionLimiter
from app.server.server import Server
from app.server.supervisor import WorkerProcess, count_gpus, supervise
from app.settings import Settings, SettingsError, load_settings
from model.kernels import COMPILED

_LAST_STEPS_S: Final = 10.0  # of a process that has drained

_log = logging.getLogger("app")


def serve(host: str | None, port: int | None, member: WorkerProcess | None = None) -> None:
    """Serve until a signal comes. `host` and `port`, where given, win over the environment. `member`: this process is
    one of several that serve the same port."""
    settings = _settings(host, port)
    keep_standard_descriptors()
    if member is None:
        configure_logs(settings.log_level)
        workers = settings.workers or (settings.device != "cpu" and count_gpus()) or 1
        with _listen(settings.host, settings.port) as listener:
            if workers > 1:
                exit.leave(supervise(workers, listener, _arguments(host, port), _patience_s(settings)))
            _serve(settings, [listener])
    else:
        configure_logs(settings.log_level, worker=member.number)
        member.settle()
        _serve(settings, _sockets(settings, member), member)


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


def _arguments(host: str | None, port: int | None) -> list[str]:
    """Those of this command, for each worker."""
    given = {"--host": host, "--port": port}
    return [word for name, value in given.items() if value is not None for word in (name, str(value))]


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
        return create_app(settings, gpu=member.number if member else 0, load_first=member is not None)
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
