"""The service as a process of its own, as an operator starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
NOWHERE = Path("/nowhere")  # where no model is, nor looked for
PATIENCE_S = 180  # For a TensorFlow import on a busy machine.


@dataclass
class Process:
    """`python -m app serve` on a free port, with its log lines as they come."""

    child: subprocess.Popen[str]
    reader: threading.Thread = field(init=False)
    lines: list[dict[str, object]] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)
    ended: bool = False

    def __post_init__(self) -> None:
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            with self.arrived:
                self.lines.append(json.loads(line))
                self.arrived.notify_all()
        with self.arrived:
            self.ended = True
            self.arrived.notify_all()

    def wait_for(self, text: str) -> str:
        def found() -> str | None:
            return next((str(x["message"]) for x in self.lines if text in str(x["message"])), None)

        with self.arrived:
            self.arrived.wait_for(lambda: self.ended or found() is not None, PATIENCE_S)
        message = found()
        assert message is not None, self.lines
        return message


@contextmanager
def serving(
    artifact: Path,
    *,
    ready: bool = True,
    program: Sequence[str] = ("-m", "app", "serve", "--port", "0"),
    limits: str = ":",
    errors: IO[str] | int = subprocess.DEVNULL,
    **environment: str,
) -> Iterator[tuple[Process, str]]:
    """The process and its address; when the model is loaded, unless `ready` is false. `limits` is shell, such as
    `ulimit -n 64`; standard error goes to `errors`."""
    child = subprocess.Popen(
        ["/bin/sh", "-c", f'{limits}; exec "$@"', "sh", sys.executable, *program],
        cwd=ROOT,
        env=os.environ | {"MATTE_MODEL_DIR": str(artifact), "MATTE_DEVICE": "cpu"} | environment,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )
    process = Process(child)
    try:
        address = process.wait_for("listening on").split("listening on ")[1].split(" ")[0]
        process.wait_for("ready" if ready else "startup complete")
        yield process, address
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
        process.reader.join()
        assert child.stdout is not None
        child.stdout.close()


def serving_quickly(artifact: Path, **more: Any) -> AbstractContextManager[tuple[Process, str]]:
    """`serving` that is ready a few seconds sooner: to choose and prove another precision takes a second session.

    `test_serve`, README's test and the benchmarks start the service as operators do.
    """
    return serving(artifact, MATTE_PRECISION="float32", **more)


def failing(
    port: int = 0, gate: Path = NOWHERE, limits: str = ":", **more: str
) -> AbstractContextManager[tuple[Process, str]]:
    """`serving` with the network of `fault_injection` instead of TensorFlow: it starts in a second."""
    return serving(
        NOWHERE, program=("-m", "tests.support.fault_injection", str(port), str(gate)), limits=limits, **more
    )
