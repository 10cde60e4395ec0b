"""A folder of models and their versions, filled as an operator should."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from model import contract


def put(store: Path, artifact: Path, version: str, *, damaged: bool = False) -> None:
    """The artifact, whose name is tiny, as another version: all of it under another name first, then renamed."""
    building = store / "tiny" / f"{version}-copying"
    shutil.copytree(artifact, building)
    manifest = dataclasses.replace(contract.read_manifest(artifact), version=version)
    contract.write_manifest(building, manifest)
    if damaged:
        next((building / contract.SAVED_MODEL_DIR).glob("*.pb")).write_bytes(b"no graph")
    building.rename(store / "tiny" / version)
