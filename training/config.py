"""A training run as a document: one TOML file, read into frozen dataclasses.

Unknown keys, wrong types and impossible values are errors that name the key, so that a misspelt setting never
trains a network for hours with a default. Knows no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from model.contract import Geometry
from training.losses import LossWeights

# What a run keeps as it is (`training.engine.state`): the six encoder stages with their batch norm's statistics,
# every batch norm's statistics, or the encoder and all statistics.
Freeze = Literal["none", "encoder", "statistics", "encoder+statistics"]


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Which U²-Net: see `model.u2net.u2net`. `serve_size` is the side in pixels that the export serves at, `geometry`
    how photos are laid into that square (`model.transforms`)."""

    name: str = "portrait"
    variant: Literal["full", "lite"] = "full"
    width: float = 1.0
    serve_size: int = 320
    geometry: Geometry = "stretch"


@dataclass(frozen=True, slots=True)
class PhaseConfig:
    """Steps trained at one input size (pixels per side, a multiple of 32)."""

    input_size: int
    steps: int


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """Shares are probabilities per sample in 0..1; strengths are explained in `training.data.augmentation`."""

    crop_share: float = 0.5
    crop_area_min: float = 0.3
    rotate_share: float = 0.25
    companion_share: float = 0.0
    background_share: float = 0.4
    place_share: float = 0.0
    empty_share: float = 0.03
    colour_share: float = 0.8
    grey_share: float = 0.05
    blur_share: float = 0.15
    jpeg_share: float = 0.25
    noise_share: float = 0.2
    letterbox_share: float = 0.0


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One run.

    `batch_size` is per step over all replicas; each replica takes its part in `micro_batches` turns, which trades
    time for memory. Rates are per step. `freeze` keeps a part of the network as it is
    (`training.engine.state.trainable_network`). `shorter_side` shrinks pictures whose shorter side has more pixels,
    once, into `--cache` (`training.data.cache`); 0 leaves them as they are. `xla` compiles forward and backward pass
    by XLA.
    """

    phases: tuple[PhaseConfig, ...]
    network: NetworkConfig = field(default_factory=NetworkConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossWeights = field(default_factory=LossWeights)
    data_root: str = ""
    backgrounds: str = ""
    validation_split: str = "P3M-500-NP"
    shorter_side: int = 0
    batch_size: int = 8
    micro_batches: int = 1
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    freeze: Freeze = "none"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    xla: bool = False
    validate_every: int = 500
    checkpoint_every: int = 100
    seed: int = 0

    @property
    def total_steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    def digest(self) -> str:
        """SHA-256 over the values (not over the TOML's comments or order)."""
        canonical = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


class ConfigError(ValueError):
    """The TOML file does not describe a run; the message names the file and the key."""


def load_config(path: Path) -> TrainConfig:
    """Read a TOML file. Raises ConfigError for syntax, unknown keys, wrong types and impossible values."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text in UTF-8") from error
    try:
        config = _build(TrainConfig, document, "")
        assert isinstance(config, TrainConfig)
        _check(config)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return config


def _build(kind: type, table: object, where: str) -> object:
    """A dataclass from a TOML table, recursively."""
    if not isinstance(table, dict):
        raise ConfigError(f"{where.rstrip('.')} must be a table")
    hints = typing.get_type_hints(kind)
    for key in table:
        if key not in hints:
            raise ConfigError(f"unknown key {where}{key}; known: {', '.join(sorted(hints))}")
    values = {key: _convert(hints[key], value, f"{where}{key}") for key, value in table.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{where.rstrip('.') or 'the document'} lacks a required key: {error}") from None


def _convert(hint: Any, value: object, where: str) -> object:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value, f"{where}.")
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{where} must be an array")
        item = typing.get_args(hint)[0]
        return tuple(_convert(item, each, f"{where}[{i}]") for i, each in enumerate(value))
    if typing.get_origin(hint) is Literal:
        if value not in typing.get_args(hint):
            raise ConfigError(f"{where} must be one of {', '.join(map(repr, typing.get_args(hint)))}")
        return value
    if hint is bool and isinstance(value, bool):
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, types.UnionType) or not isinstance(value, hint) or isinstance(value, bool):
        raise ConfigError(f"{where} must be {getattr(hint, '__name__', hint)}, not {value!r}")
    return value


def _check(config: TrainConfig) -> None:
    if not config.phases:
        raise ConfigError("phases must hold at least one {input_size, steps}")
    sizes = [phase.input_size for phase in config.phases] + [config.network.serve_size]
    for size in sizes:
        if size <= 0 or size % 32:
            raise ConfigError(f"input sizes must be positive multiples of 32, not {size}")
    for name in ("batch_size", "micro_batches", "validate_every", "checkpoint_every"):
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} must be at least 1")
    if config.batch_size % config.micro_batches:
        raise ConfigError(f"micro_batches must divide batch_size, {config.batch_size}")
    if config.shorter_side and config.shorter_side < max(phase.input_size for phase in config.phases):
        raise ConfigError("shorter_side must be 0 or at least the largest input_size")
    if any(phase.steps < 1 for phase in config.phases):
        raise ConfigError("every phase needs at least 1 step")
    if not 0 <= config.ema_decay < 1:
        raise ConfigError("ema_decay must be in [0, 1)")
    for share in dataclasses.fields(AugmentConfig):
        if not 0 <= getattr(config.augment, share.name) <= 1:
            raise ConfigError(f"augment.{share.name} must be in 0..1")
