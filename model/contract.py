"""The contract of an artifact directory, the only thing that passes from training to the service.

    <artifact>/manifest.json     who the model is, what it takes and gives, the SHA-256 of each file
    <artifact>/saved_model/      a TensorFlow SavedModel with the signature below
    <artifact>/activations.json  where the network may run in 8 bits: the largest value of each activation

Signature `serving_default`: `image` uint8 `[N,S,S,3]` RGB -> `alpha` float32 `[N,S,S,1]` in 0..1. Normalisation and
sigmoid are inside. Standard library only, so that a manifest can be read and verified without TensorFlow.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

SCHEMA_VERSION: Final = 1
MANIFEST_FILE: Final = "manifest.json"
SAVED_MODEL_DIR: Final = "saved_model"
ACTIVATIONS_FILE: Final = "activations.json"
SIGNATURE: Final = "serving_default"
INPUT_NAME: Final = "image"
OUTPUT_NAME: Final = "alpha"

# How a photo is laid into the square (`model.transforms`): how many times more one axis may be scaled than the other.
# What is then left of the square are bars.
Geometry = Literal["stretch", "limited", "letterbox"]
GEOMETRIES: Final[Mapping[str, float]] = {"stretch": math.inf, "limited": 4 / 3, "letterbox": 1.0}

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class ContractError(Exception):
    """An artifact directory is missing, incomplete, changed, or made for another version of this software.

    The message names the directory or file and what to do about it.
    """


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything the service must know of a model, and everything a person asks about it.

    `input_size` is S in pixels. `geometry` names the way to the square in `model.transforms`. `files` maps each
    path below the artifact (with "/") to its SHA-256. `sharpness` is the factor on the logits that is inside the
    SavedModel: alpha's odds to the power of 1/sharpness are the network's own. `metrics` maps "<split>/<metric>" to a
    number. `cascade` maps the input sizes of `model.cascade`, `input_size` among them, to the confidence from which
    on each is enough; it is empty where the network runs at `input_size` alone.
    """

    name: str
    version: str
    input_size: int
    geometry: str
    files: dict[str, str]
    architecture: str = ""
    parameters: int = 0
    training_config_sha256: str = ""
    data: str = ""
    licence: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    sharpness: float = 1.0
    cascade: dict[str, float] = field(default_factory=dict)
    input_name: str = INPUT_NAME
    output_name: str = OUTPUT_NAME
    schema_version: int = SCHEMA_VERSION

    @property
    def label(self) -> str:
        """`name@version`, as in the X-Model header."""
        return f"{self.name}@{self.version}"

    @property
    def sha256(self) -> str:
        """One digest for the whole model: over the sorted (path, digest) list."""
        lines = "".join(f"{digest}  {path}\n" for path, digest in sorted(self.files.items()))
        return hashlib.sha256(lines.encode()).hexdigest()

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


@dataclass(frozen=True, slots=True)
class Activations:
    """The largest value that each activation of a U²-Net took on calibration photos, in the order of computation,
    which has no branches: of each ReLU by the convolution that it follows, of each residual sum by its block. None
    of them is ever negative, so 0 and this are the ends of its 8-bit range.
    """

    relu: dict[str, float]
    sum: dict[str, float]

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"


def read_manifest(artifact: Path) -> Manifest:
    """Parse and check `artifact/manifest.json`, without reading the files it lists. Raises ContractError."""
    path = artifact / MANIFEST_FILE
    if not artifact.is_dir():
        raise ContractError(f"{artifact}: no such model directory")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ContractError(
            f"{path}: missing; an artifact is made by `python -m training export RUN_DIR ARTIFACT_DIR`"
        ) from None
    except (OSError, ValueError) as error:
        raise ContractError(f"{path}: not readable as JSON: {error}") from None
    return _parse(document, path)


def verify(artifact: Path) -> Manifest:
    """Read the manifest and compare every file of the artifact with it.

    Raises ContractError when a listed file is missing or changed, or when there is an unlisted one.
    """
    manifest = read_manifest(artifact)
    present = {str(p.relative_to(artifact).as_posix()) for p in model_files(artifact)}
    if missing := sorted(manifest.files.keys() - present):
        raise ContractError(f"{artifact}: missing {', '.join(missing)}; copy the whole artifact again")
    if extra := sorted(present - manifest.files.keys()):
        raise ContractError(f"{artifact}: not listed in the manifest: {', '.join(extra)}")
    for name, expected in manifest.files.items():
        if (actual := file_sha256(artifact / name)) != expected:
            raise ContractError(
                f"{artifact / name}: SHA-256 is {actual}, the manifest says {expected}: changed or damaged"
            )
    return manifest


def write_manifest(artifact: Path, manifest: Manifest) -> None:
    """Check and write `artifact/manifest.json`. Raises ContractError for values that could not be read back."""
    text = manifest.to_json()
    _parse(json.loads(text), artifact / MANIFEST_FILE)
    (artifact / MANIFEST_FILE).write_text(text, encoding="utf-8")


def read_activations(artifact: Path) -> Activations | None:
    """The artifact's `activations.json`; None where it has none. Raises ContractError for what is not such a file."""
    path = artifact / ACTIVATIONS_FILE
    if not path.exists():
        return None
    try:
        found = Activations(**json.loads(path.read_text(encoding="utf-8")))
        ranges = [*found.relu.values(), *found.sum.values()]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ContractError(f"{path}: not readable as activations: {error}") from None
    if not all(isinstance(each, float | int) and 0 < each < math.inf for each in ranges):
        raise ContractError(f"{path}: every range must be a positive number")
    return found


def model_files(artifact: Path) -> list[Path]:
    """The files that the manifest lists: everything below saved_model/, and activations.json, sorted."""
    candidates = [*(artifact / SAVED_MODEL_DIR).rglob("*"), artifact / ACTIVATIONS_FILE]
    return sorted(path for path in candidates if path.is_file())


def file_digests(artifact: Path) -> dict[str, str]:
    """What `Manifest.files` holds: the SHA-256 of each model file by its path below `artifact`, with "/"."""
    return {path.relative_to(artifact).as_posix(): file_sha256(path) for path in model_files(artifact)}


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse(document: Any, path: Path) -> Manifest:
    def require(condition: object, problem: str) -> None:
        if not condition:
            raise ContractError(f"{path}: {problem}")

    require(isinstance(document, dict), "must hold a JSON object")
    schema = document.get("schema_version")
    require(schema == SCHEMA_VERSION, f"schema_version is {schema!r}, this version reads {SCHEMA_VERSION}")
    try:
        manifest = Manifest(**document)
    except TypeError as error:
        raise ContractError(f"{path}: {error}") from None
    for spec in dataclasses.fields(Manifest):
        value = getattr(manifest, spec.name)
        kinds = {"str": str, "int": int, "float": float}
        kind = kinds.get(str(spec.type), dict)
        require(isinstance(value, kind) and not isinstance(value, bool), f"{spec.name} must be {spec.type}")
    for key in ("name", "version"):
        require(_NAME.fullmatch(getattr(manifest, key)), f"{key} must match {_NAME.pattern}")
    require(
        manifest.input_size > 0 and manifest.input_size % 32 == 0,
        "input_size must be a positive multiple of 32",
    )
    require(0 < manifest.sharpness < math.inf, "sharpness must be positive")
    require(manifest.geometry in GEOMETRIES, f"geometry must be one of {', '.join(GEOMETRIES)}")
    require(
        (manifest.input_name, manifest.output_name) == (INPUT_NAME, OUTPUT_NAME),
        f"tensors must be named {INPUT_NAME} and {OUTPUT_NAME}",
    )
    require(manifest.files, "files must list the SavedModel")
    for name, digest in manifest.files.items():
        inside = name.startswith(f"{SAVED_MODEL_DIR}/") and ".." not in name.split("/")
        require(inside or name == ACTIVATIONS_FILE, f"file {name!r} is not below {SAVED_MODEL_DIR}/")
        require(isinstance(digest, str) and _SHA256.fullmatch(digest), f"{name}: not a SHA-256")
    numbers = all(isinstance(v, int | float) for v in manifest.metrics.values())
    require(numbers, "metrics must be numbers")
    cascade = manifest.cascade
    sizes = all(each.isdecimal() and int(each) > 0 and int(each) % 32 == 0 for each in cascade)
    require(sizes, "cascade must name positive multiples of 32")
    shares = all(isinstance(v, int | float) and 0 <= v <= 1 for v in cascade.values())
    require(shares, "cascade must hold confidences of 0..1")
    require(not cascade or str(manifest.input_size) in cascade, "cascade must name input_size")
    return manifest
