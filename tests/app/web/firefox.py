"""Debian's Firefox, driven by its own Marionette protocol: Playwright brings a Firefox of its own or none at all."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FIREFOX = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)

START_S = 90.0
SCRIPT_MS = 60_000
# It opens nothing but what it is told to, and asks no other server for anything.
PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.aboutwelcome.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.page": 0,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.systemAddon.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.server": "data:,",
}


class Firefox:
    """One tab. Every call waits for its answer and raises RuntimeError with Firefox's own words."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = connection.makefile("rb")
        self._number = 0
        self._read()
        self.call("WebDriver:NewSession")
        self.call("WebDriver:SetTimeouts", script=SCRIPT_MS)

    def call(self, command: str, **arguments: Any) -> Any:
        self._number += 1
        message = json.dumps([0, self._number, command, arguments]).encode()
        self._connection.sendall(b"%d:%b" % (len(message), message))
        _, _, error, result = self._read()
        if error is not None:
            raise RuntimeError(f"{command}: {error['error']}: {error['message']}")
        return result

    def open(self, address: str) -> None:
        self.call("WebDriver:Navigate", url=address)

    def run(self, script: str, *arguments: Any) -> Any:
        """The result of an async function's body in the page; `arguments` are its own."""
        wrapped = f"""
          const done = arguments[arguments.length - 1];
          const body = async (...given) => {{ {script} }};
          body(...[...arguments].slice(0, -1)).then((value) => done({{value}}), (e) => done({{error: `${{e}}`}}));
        """
        answer = self.call("WebDriver:ExecuteAsyncScript", script=wrapped, args=list(arguments))["value"]
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer.get("value")

    def drag(self, *points: tuple[float, float]) -> None:
        """The mouse, from the first of these points of the screen to the last."""
        moves = [{"type": "pointerMove", "x": round(x), "y": round(y), "duration": 0} for x, y in points]
        down, up = ({"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp"))
        self._act("pointer", [moves[0], down, *moves[1:], up], parameters={"pointerType": "mouse"})

    def press(self, *keys: str) -> None:
        """Keys one after another; those of "a+b" together."""
        for chord in keys:
            held = chord.split("+") if len(chord) > 1 else [chord]
            downs = [{"type": "keyDown", "value": key} for key in held]
            self._act("key", downs + [{"type": "keyUp", "value": key} for key in reversed(held)])

    def _act(self, kind: str, actions: list[dict[str, Any]], **more: Any) -> None:
        self.call(
            "WebDriver:PerformActions", actions=[{"type": kind, "id": kind, "actions": actions, **more}]
        )

    def _read(self) -> Any:
        length = b""
        while not length.endswith(b":"):
            if not (byte := self._stream.read(1)):
                raise RuntimeError("Firefox has closed the connection")
            length += byte
        return json.loads(self._stream.read(int(length[:-1])))


@contextmanager
def firefox(profile: Path) -> Iterator[Firefox]:
    """Firefox without a screen, with an empty profile in the folder `profile`."""
    assert FIREFOX is not None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in PREFERENCES.items()]
    (profile / "user.js").write_text("\n".join([*lines, f'user_pref("marionette.port", {port});']))
    command = [FIREFOX, "--headless", "--marionette", "--no-remote", "--profile", str(profile)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "Listening on port" in line:
                break
        else:
            raise RuntimeError("Firefox ended before it listened")
        with socket.create_connection(("127.0.0.1", port), START_S) as connection:
            yield Firefox(connection)
    finally:
        process.terminate()
        process.communicate()
