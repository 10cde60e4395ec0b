"""A Prometheus server as a process of its own, which scrapes one address every second."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx


@dataclass(frozen=True)
class Prometheus:
    """Its HTTP API."""

    client: httpx.Client

    def query(self, expression: str) -> list[Mapping[str, object]]:
        """The instant vector of a query. Fails on bad syntax."""
        answer = self.client.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        result: list[Mapping[str, object]] = answer["data"]["result"]
        return result

    def rules(self) -> list[Mapping[str, object]]:
        groups = self.client.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


@contextmanager
def prometheus(folder: Path, address: str, rules: Path) -> Iterator[Prometheus]:
    """Scrapes `address` as job `matte` and evaluates `rules`, both once a second; its data are in `folder`."""
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {"job_name": "matte", "static_configs": [{"targets": [urlsplit(address).netloc]}]}
        ],
    }
    file = folder / "prometheus.yml"
    file.write_text(json.dumps(config))  # JSON is YAML.
    port = _free_port()
    command = [
        "prometheus",
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stderr is not None
            log = next((line for line in child.stderr if "ready to receive" in line), "")
            assert log, "Prometheus did not start"
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
                yield Prometheus(client)
        finally:
            child.terminate()


def _free_port() -> int:
    """Prometheus 2 cannot say which port it took, so it is given one that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
