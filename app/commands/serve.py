"""An address and the environment come in, a running service goes out. Knows no request."""

from __future__ import annotations

import logging
import math
import socket

import uvicorn

from app.commands import ending
from app.logs import configure_logs
from app.main import Server, create_app
from app.settings import Settings, SettingsError, load_settings

_log = logging.getLogger("app")


def serve(host: str | None, port: int | None) -> None:
    """Serve until a signal comes. `host` and `port`, where given, win over the environment."""
    settings = _settings(host, port)
    configure_logs(settings.log_level)
    listener = _listen(settings.host, settings.port)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(settings.drain_timeout_ms / 1000),
    )
    server = Server(config, app.state.pipeline)
    app.state.on_load_failure = server.stop
    server.run(sockets=[listener])
    if app.state.load_failure is not None:
        ending.fail(str(app.state.load_failure))
    if app.state.loading.cancelled():
        ending.leave(0)


def _settings(host: str | None, port: int | None) -> Settings:
    try:
        return load_settings(host=host, port=port)
    except SettingsError as error:
        ending.fail(str(error))


def _listen(host: str, port: int) -> socket.socket:
    """Done before the model loads, so that a taken port is known at once."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        ending.fail(f"cannot listen on {host} port {port}: {error.strerror}")
    name = f"[{host}]" if ":" in host else host
    _log.info("listening on http://%s:%d (Ctrl-C stops)", name, listener.getsockname()[1])
    return listener
