"""The environment (`MATTE_*`) comes in, one frozen `Settings` goes out. Its only reader in app/.

Knows nothing of what the values are used for beyond their description, unit and limits.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from model import contract

PREFIX: Final = "MATTE_"
CGROUP: Final = Path("/sys/fs/cgroup")
BUILT_IN_MODEL: Final = Path(contract.__file__).parent / "artifacts" / "portrait"

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bfloat16"]
LogLevel = Literal["debug", "info", "warning", "error"]


class SettingsError(Exception):
    """A setting is unknown, out of its limits or of the wrong kind. The message has one line per problem."""


class Settings(BaseSettings):
    """Everything an operator can choose. Each field is read from `MATTE_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    model_dir: Path = Field(
        default=BUILT_IN_MODEL,
        description="Artifact directory of the model to serve; the default is the built-in one.",
    )
    device: Device = Field(
        default="auto",
        description="`cuda` refuses to start without a GPU, `auto` takes one if there is one and logs it.",
    )
    precision: Precision = Field(
        default="auto",
        description="`auto` is bfloat16 on CPUs that have it, if 99.9 % of a probe keeps to 2/255 of float32.",
    )
    max_batch_size: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Most pictures in one call of the network; 0 is 16 on a GPU and 2 on a CPU.",
    )
    lanes: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Batches that run at once and share the cores; 0 is one on a GPU and one per core on a CPU.",
    )
    batch_wait_ms: float = Field(
        default=5.0,
        ge=0,
        le=10_000,
        description="Longest wait of a batch's first picture for others that are being decoded, in milliseconds.",
    )
    max_queue: int = Field(
        default=64,
        ge=1,
        le=10_000,
        description="Most matte requests in the house at once, from first byte to answer; one more gets 429.",
    )
    max_upload_bytes: int = Field(
        default=25_000_000, ge=1_000, le=1_000_000_000, description="Largest request body, in bytes."
    )
    max_pixels: int = Field(
        default=50_000_000,
        ge=1_000,
        le=500_000_000,
        description="Largest picture, width times height in pixels, read from its header before decoding.",
    )
    max_decoded_bytes: int = Field(
        default=160_000_000,
        ge=1_000_000,
        le=1_000_000_000_000,
        description="Most bytes of decoded photos at once: 3 per pixel, for cut-outs 10. Other photos wait as files.",
    )
    request_timeout_ms: int = Field(
        default=60_000,
        ge=10,
        le=3_600_000,
        description="Longest time from admission to the end of the answer, in milliseconds; then 504.",
    )
    body_timeout_ms: int = Field(
        default=30_000,
        ge=10,
        le=3_600_000,
        description="Longest time for the request body to arrive, in milliseconds; then 408.",
    )
    drain_timeout_ms: int = Field(
        default=30_000,
        ge=0,
        le=600_000,
        description="Longest time to finish accepted requests after SIGTERM, in milliseconds.",
    )
    cpu_threads: int = Field(
        default=0,
        ge=0,
        le=1_024,
        description="Threads that decode, resize and encode; 0 means one per core this process may use.",
    )
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated keys; each /v1 request must carry one of them. Empty: open to all.",
    )
    ui: bool = Field(
        default=True, description="Whether `/` is a page for browsers; off, it is the JSON index for all."
    )
    log_level: LogLevel = Field(default="info", description="Least severity that is logged.")
    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65_535, description="TCP port to listen on; 0 takes a free one.")

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(key.strip() for key in value.split(",") if key.strip())

    @field_validator("api_keys")
    @classmethod
    def _keys_are_ascii(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(key.get_secret_value().isascii() for key in keys):
            raise ValueError("keys must be ASCII, as HTTP headers are")
        return keys

    @property
    def cpu_thread_count(self) -> int:
        """`cpu_threads`, with 0 replaced by the number of cores this process may use."""
        return self.cpu_threads or self.core_count

    @property
    def core_count(self) -> int:
        """Cores that this process may use, by its affinity and by its container's limit."""
        return min(len(os.sched_getaffinity(0)), container_cores() or 1_024)


def container_cores(cgroup: Path = CGROUP) -> int | None:
    """The CPU limit of a container in cores, rounded up; None where there is none. By Linux's cgroups, 2 and 1."""
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
    if not (quota.isdecimal() and period.isdecimal()):
        return None  # "max", or -1
    return max(1, math.ceil(int(quota) / int(period)))


def load_settings(*, host: str | None = None, port: int | None = None) -> Settings:
    """Read the environment; `host` and `port`, where given, win over it. Raises SettingsError."""
    refuse_unknown(os.environ)
    chosen = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    try:
        return Settings.model_validate(Settings().model_dump() | chosen)
    except ValidationError as error:
        raise SettingsError("\n".join(_readable(error))) from None


def refuse_unknown(environment: Mapping[str, str]) -> None:
    """Raise SettingsError if a `MATTE_*` variable is no setting: a misspelt limit must not go unnoticed."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(
        name for name in environment if name.upper().startswith(PREFIX) and name.upper() not in known
    )
    if unknown:
        raise SettingsError(
            f"unknown setting: {', '.join(unknown)}\nknown settings: {', '.join(sorted(known))}"
        )


def _readable(error: ValidationError) -> list[str]:
    return [f"{PREFIX}{str(problem['loc'][0]).upper()}: {problem['msg']}" for problem in error.errors()]
