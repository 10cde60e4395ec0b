"""List the models in the models folder. Reads manifests only; knows no TensorFlow.

    one artifact                 <folder>/manifest.json and saved_model/, as training exports it
    versions of one or more      <folder>/<name>/<n>/manifest.json and saved_model/, n = 1, 2, 3, …

A version exists as soon as its manifest does: copy the manifest last, or copy the folder under another name and
rename it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

from model.contract import MANIFEST_FILE, ContractError, Manifest, read_manifest

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A model on disk. `number` is its version as an integer, 0 for an artifact outside a folder of versions."""

    path: Path
    manifest: Manifest
    number: int

    @property
    def label(self) -> str:
        """`name@version`."""
        return self.manifest.label


def is_store(folder: Path) -> bool:
    """Whether `folder` holds versions, rather than being one model itself."""
    return not (folder / MANIFEST_FILE).exists() and any(_version_folders(folder))


def scan(folder: Path) -> list[ModelVersion]:
    """The models in `folder`: sorted by name, of each name the newest first.

    In a folder with versions, invalid ones are left out and logged. Raises ContractError if `folder` is not a model
    and holds none.
    """
    if not is_store(folder):
        return [ModelVersion(folder, read_manifest(folder), 0)]
    found = []
    for path in sorted(_version_folders(folder)):
        try:
            found.append(_read_version(path))
        except ContractError as error:
            _log.error("a model is left out: %s", error)
    if not found:
        raise ContractError(f"{folder}: none of its versions can be served; the log says why")
    return sorted(found, key=lambda each: (each.manifest.name, -each.number))


class Named(Protocol):
    """Anything with a manifest."""

    @property
    def manifest(self) -> Manifest: ...


M = TypeVar("M", bound=Named)


def pick(models: Iterable[M], model: str) -> M | None:
    """The first of `models` that `model`, `name` or `name@version`, names."""
    name, _, version = model.partition("@")
    for each in models:
        if each.manifest.name == name and version in ("", each.manifest.version):
            return each
    return None


def check_one_name(models: Iterable[Named]) -> None:
    """Raise ContractError if there are several names, so that a request without a model is ambiguous."""
    names = sorted({each.manifest.name for each in models})
    if len(names) > 1:
        raise ContractError(
            f"there are several models ({', '.join(names)}): set MATTE_DEFAULT_MODEL to one of them"
        )


def default_of(models: Sequence[ModelVersion], model: str) -> ModelVersion:
    """The model of requests that name none: `model` (`name` or `name@version`), or else the newest of the only name.

    Raises ContractError if it does not exist or is ambiguous.
    """
    if not model:
        check_one_name(models)
    found = pick(models, model) if model else models[0]
    if found is not None:
        return found
    available = ", ".join(each.label for each in models)
    raise ContractError(f"MATTE_DEFAULT_MODEL is {model!r}, and there is {available}")


def _version_folders(folder: Path) -> Iterable[Path]:
    """The folders `<name>/<n>` with a manifest; a folder that is still being copied has none."""
    if not folder.is_dir():
        return
    for path in folder.glob("*/*"):
        if path.name.isascii() and path.name.isdigit() and (path / MANIFEST_FILE).is_file():
            yield path


def _read_version(path: Path) -> ModelVersion:
    manifest = read_manifest(path)
    if (manifest.name, manifest.version) != (path.parent.name, path.name):
        raise ContractError(
            f"{path}: its manifest says {manifest.label}; put it into {manifest.name}/{manifest.version}"
        )
    return ModelVersion(path, manifest, int(path.name))
