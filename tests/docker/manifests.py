"""The Kubernetes manifests of docker/k8s, as they lie there and as kustomize builds them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "docker" / "k8s"

Manifest = dict[str, Any]


def read(path: Path) -> Manifest:
    made: Manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
    return made


def command() -> list[str] | None:
    """What builds a kustomization, if anything here does."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    return ["kubectl", "kustomize"] if shutil.which("kubectl") else None


def built(folder: Path) -> dict[str, Manifest]:
    """The manifests of a kustomization by their kind; each kind is there once."""
    build = command()
    if build is None:
        pytest.skip("neither kustomize nor kubectl is installed")
    done = subprocess.run([*build, folder], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    manifests = [each for each in yaml.safe_load_all(done.stdout) if each]
    kinds = {each["kind"]: each for each in manifests}
    assert len(kinds) == len(manifests)
    return kinds


def kustomization(folder: Path, *components: str) -> Path:
    """One of an operator's own, on top of the CPU overlay."""

    def towards(part: str) -> str:
        return os.path.relpath(FOLDER / part, folder)

    spec = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [towards("overlays/cpu")],
        "components": [towards(f"components/{name}") for name in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(spec))
    return folder
