"""rembg, the peer most people know, as a server on this machine: installed, started, asked.

In: a folder for its own virtual environment, and the ONNX file that it is to serve. Out: its address and requests to
it. It runs as its manual says, with two kindnesses: without its web page (`--no-ui`), and with its session made
by one request before many come at once, of which each would make a session of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from tests.bench.load import TIMEOUT_S, Send, sending

VERSION: Final = "2.0.86"
REQUIREMENT: Final = f"rembg[cpu,cli]=={VERSION}"
PATIENCE_S: Final = 300.0  # Its first start compiles what it imports.

_VERSIONS: Final = (
    "import onnxruntime; from importlib.metadata import version; "
    "print(version('rembg'), onnxruntime.__version__)"
)


@dataclass(frozen=True, slots=True)
class Peer:
    """An installed rembg: the folder of its programs, and its own version and ONNX Runtime's."""

    programs: Path
    rembg: str
    onnxruntime: str


def default_venv() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "u2matte" / f"rembg-{VERSION}"


def installed(folder: Path) -> Peer:
    """rembg in a virtual environment of its own, which is made unless it is there; about 0.9 GB.

    Raises subprocess.CalledProcessError if pip fails.
    """
    if (peer := _find(folder)) is None:
        print(f"installing rembg {VERSION} into {folder}", flush=True)
        venv.create(folder, with_pip=True)
        pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, REQUIREMENT], check=True)
        peer = _find(folder)
    assert peer, f"{folder}: rembg {VERSION} was installed, but does not answer for itself"
    return peer


def _find(folder: Path) -> Peer | None:
    python = folder / "bin" / "python"
    if not python.exists():
        return None
    asked = subprocess.run([python, "-c", _VERSIONS], capture_output=True, text=True)
    versions = asked.stdout.split()
    if asked.returncode != 0 or versions[0] != VERSION:
        return None
    return Peer(folder / "bin", *versions)


@contextmanager
def serving_rembg(peer: Peer, home: Path) -> Iterator[tuple[int, str]]:
    """`rembg s` on a free port, once it answers: process id and address. It opens model files below `home` only."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    no_browser = shutil.which("true") or ""  # It would open its page.
    child = subprocess.Popen(
        [
            peer.programs / "rembg",
            "s",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--no-ui",
            "-l",
            "warning",
        ],
        env=os.environ | {"U2NET_HOME": str(home), "BROWSER": no_browser},
        stdout=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, child)
        yield child.pid, address
    finally:
        child.kill()
        child.wait()


def _wait_for(address: str, child: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        if child.poll() is not None:
            raise RuntimeError(f"rembg ended with status {child.returncode} before it answered")
        try:
            httpx.get(f"{address}/openapi.json", timeout=TIMEOUT_S).raise_for_status()
        except httpx.TransportError:
            time.sleep(0.5)
        else:
            return
    raise TimeoutError(f"rembg did not answer within {PATIENCE_S:.0f} s")


def removing(address: str, data: bytes, model: Path, *, only_mask: bool) -> Send:
    """The photo to rembg's custom U²-Net session, as a multipart form: a grey mask or an RGBA cut-out comes back."""
    form = {"model": "u2net_custom", "om": str(only_mask).lower()}
    query = {"extras": json.dumps({"model_path": str(model)})}  # As a form field it would be ignored.
    photo = {"file": ("photo.jpg", data, "image/jpeg")}
    return sending(httpx.Request("POST", f"{address}/api/remove", params=query, data=form, files=photo))
