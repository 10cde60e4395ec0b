"""All settings: the environment (`MATTE_*`) as one frozen `Settings`. No other module of app/ reads the environment.

Each setting has its type, unit, range, default and help here; the table in the documentation is generated from them.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.security.api_keys import read_list
from app.security.rate_limit import RATE_MAX
from model import contract

PhotoFormat = Literal["jpeg", "png", "webp", "heic", "avif", "tiff", "bmp", "gif"]
PHOTO_FORMATS: Final[tuple[PhotoFormat, ...]] = get_args(PhotoFormat)


def _words(value: object) -> object:
    """What stands between commas, of a variable of the environment."""
    if not isinstance(value, str):
        return value
    return tuple(word.strip() for word in value.split(",") if word.strip())


class LimitSettings(BaseModel):
    """Limits: which formats, how many, how large, how long."""

    max_queue: int = Field(
        default=64,
        ge=1,
        le=10_000,
        description="Most matte requests in flight at once, from first byte to answer; one more gets 429.",
    )
    overload_wait_ms: int = Field(
        default=1_000,
        ge=0,
        le=600_000,
        description="While requests are refused, fewer are admitted, until answers take about this long, in "
        "milliseconds; 0 always admits `MATTE_MAX_QUEUE`.",
    )
    max_upload_bytes: int = Field(
        default=25_000_000, ge=1_000, le=1_000_000_000, description="Largest request body, in bytes."
    )
    max_pixels: int = Field(
        default=65_000_000,
        ge=1_000,
        le=500_000_000,
        description="Largest picture, width times height in pixels, read from its header before decoding.",
    )
    max_decoded_bytes: int = Field(
        default=160_000_000,
        ge=1_000_000,
        le=1_000_000_000_000,
        description="Most bytes of decoded photos at once: 3 per pixel, for a cut-out 4, with a background or another"
        " size or format 10, of a HEIC, AVIF, TIFF, BMP or GIF file 12 (with alpha 20). Other photos wait as files.",
    )
    formats: Annotated[tuple[PhotoFormat, ...], NoDecode] = Field(
        default=PHOTO_FORMATS,
        min_length=1,
        description="Comma-separated formats of photos and backgrounds that are taken; others get 415.",
    )
    max_connections: int = Field(
        default=1_024,
        ge=1,
        le=1_000_000,
        description="Most open connections; a further one closes the one that has been silent longest.",
    )
    max_head_bytes: int = Field(
        default=32_768,
        ge=1_024,
        le=1_000_000,
        description="Largest head of a request (its line and its headers), in bytes; more gets 431.",
    )
    head_timeout_ms: int = Field(
        default=10_000,
        ge=10,
        le=3_600_000,
        description="Longest time for the head of a request to arrive, in milliseconds; then 408.",
    )
    keep_alive_ms: int = Field(
        default=75_000,
        ge=0,
        le=3_600_000,
        description="Longest silence of a connection between two requests, in milliseconds; then it is closed.",
    )
    body_timeout_ms: int = Field(
        default=30_000,
        ge=10,
        le=3_600_000,
        description="Longest time for the request body to arrive, in milliseconds; then 408.",
    )
    request_timeout_ms: int = Field(
        default=60_000,
        ge=10,
        le=3_600_000,
        description="Longest time from admission to the end of the answer, in milliseconds; then 504.",
    )
    drain_timeout_ms: int = Field(
        default=30_000,
        ge=0,
        le=600_000,
        description="Longest time to finish accepted requests after SIGTERM, in milliseconds.",
    )
    stuck_after_ms: int = Field(
        default=30_000,
        ge=100,
        le=3_600_000,
        description="Longest time a batch may run, in milliseconds; then `/readyz` answers 503, at twice that the "
        "process ends.",
    )

    @field_validator("formats", mode="before")
    @classmethod
    def _split_formats(cls, value: object) -> object:
        return _words(value.lower() if isinstance(value, str) else value)


BUILT_IN_MODEL: Final = Path(contract.__file__).parent / "artifacts" / "portrait"

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bfloat16", "float16", "int8"]
Runtime = Literal["auto", "tensorflow", "openvino"]
LogLevel = Literal["debug", "info", "warning", "error"]

ROOT_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\sA-Z]+")


class ModelSettings(BaseModel):
    """Which models serve, and on what hardware."""

    model_config = ConfigDict(protected_namespaces=())

    model_dir: Path = Field(
        default=BUILT_IN_MODEL,
        description="The model to serve, or a folder with versions `<name>/<n>/` of one or more of them.",
    )
    default_model: str = Field(
        default="",
        description="Which model answers requests that name none: `name`, its newest version, or `name@version`.",
    )
    model_versions: int = Field(
        default=1,
        ge=1,
        le=16,
        description="How many versions of each model are in service, the newest first.",
    )
    model_poll_ms: int = Field(
        default=10_000,
        ge=0,
        le=86_400_000,
        description="How often a folder with versions is scanned for new ones, in milliseconds; 0 is only once.",
    )
    shadow_model: str = Field(
        default="",
        description="A candidate, `name@version`: it gets a share of the photos, its mattes are only compared.",
    )
    shadow_share: float = Field(
        default=0.1, ge=0, le=1, description="The share of photos that the candidate gets, 0..1."
    )
    device: Device = Field(
        default="auto",
        description="`cuda` refuses to start without a GPU, `auto` takes one if there is one and logs it.",
    )
    runtime: Runtime = Field(
        default="auto",
        description="What runs the network: `auto` is OpenVINO on a CPU, if it is installed and can read the model, "
        "and TensorFlow elsewhere.",
    )
    precision: Precision = Field(
        default="auto",
        description="`auto` is int8 on x86 CPUs with AVX2 if the model is calibrated for it, else bfloat16 on "
        "CPUs and float16 on GPUs that have it, if a probe stays within 2/255 of float32 on average.",
    )
    cache_dir: str = Field(
        default="auto",
        description="Folder that keeps what OpenVINO compiles, at most 1 GiB, so that the next start is quick: "
        "`auto` is `u2matte` in the user's cache folder, empty keeps nothing.",
    )
    max_batch_size: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Most pictures in one call of the network; 0 is 16 on a GPU and 2 on a CPU. OpenVINO takes one "
        "at a time.",
    )
    lanes: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Batches that run at once and share the cores; 0 is one on a GPU and one per core on a CPU, "
        "where OpenVINO gives a picture that is alone up to four.",
    )
    batch_wait_ms: float = Field(
        default=5.0,
        ge=0,
        le=10_000,
        description="Longest wait of a batch's first picture for others that are being decoded, in milliseconds.",
    )
    cpu_threads: int = Field(
        default=0,
        ge=0,
        le=1_024,
        description="Threads that decode, resize and encode; 0 means one per core this process may use.",
    )
    cores: int = Field(
        default=0,
        ge=0,
        le=1_024,
        description="Cores to use, by all workers; 0 is all that this process may use, by its affinity and its "
        "container's limit.",
    )


class AccessSettings(BaseModel):
    """Keys, rate limits, other websites and proxies."""

    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated keys, each in plain or as `name:sha256:digest`; every request for a photo must "
        "carry one of them. Empty, and without a file: open to all.",
    )
    api_keys_file: Path | None = Field(
        default=None,
        description="File of further keys, one `name sha256:digest [rate=N]` per line, as `python -m app key` makes "
        "them; reread within about a second of a change.",
    )
    protect: Annotated[tuple[Literal["metrics", "ui"], ...], NoDecode] = Field(
        default=(),
        description="Comma-separated; what else needs a key: `metrics`, `ui` (the page, `/docs`, `/api`, "
        "`/openapi.json`).",
    )
    rate_per_minute: int = Field(
        default=0,
        ge=0,
        le=RATE_MAX,
        description="Photos per minute that each key may post, or each address if there are no keys; 0: no limit. "
        "It holds for all workers together.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated origins (`https://shop.example`) of websites whose scripts may read answers.",
    )
    trusted_proxies: str = Field(
        default="",
        description="Comma-separated addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Prefix "
        "are trusted; `*` trusts all.",
    )

    @field_validator("api_keys", "protect", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return _words(value)

    @field_validator("api_keys")
    @classmethod
    def _keys_can_be_read(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        read_list(key.get_secret_value() for key in keys)
        return keys

    @field_validator("protect")
    @classmethod
    def _protected_by_keys(cls, protect: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if protect and not _has_keys(info):
            raise ValueError("there are no keys: set MATTE_API_KEYS or MATTE_API_KEYS_FILE")
        return protect

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_origins(cls, origins: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if "*" in origins and _has_keys(info):
            raise ValueError("where there are keys, websites are named one by one, not by *")
        if any(origin != "*" and not _ORIGIN.fullmatch(origin) for origin in origins):
            raise ValueError("an origin is https://host or https://host:port in small letters")
        return origins


class ProcessSettings(BaseModel):
    """Addresses, the page, logs, traces and processes."""

    ui: bool = Field(
        default=True, description="Whether `/` is a page for browsers; off, it is the JSON index for all."
    )
    root_path: str = Field(
        default="",
        description="Path below which a proxy publishes the service, such as `/matte`, whether or not it strips that "
        "path; a trusted proxy may send it as X-Forwarded-Prefix instead.",
    )
    otlp_endpoint: str = Field(
        default="",
        pattern=r"^(https?://.+)?$",
        description="Where traces go, by OTLP over HTTP, such as `http://collector:4318`; needs the extra `otel`.",
    )
    workers: int = Field(
        default=1,
        ge=0,
        le=256,
        description="Processes behind the one port that decode and encode, each with its share of the cores; beside "
        "them one for each GPU, or one on a CPU, runs the models. 1 is a single process for everything, where there "
        "is at most one GPU. 0 is 1 on a CPU, and one for every four cores beside a GPU.",
    )
    worker_port: int = Field(
        default=0,
        ge=0,
        le=65_000,
        description="Each of several processes also listens on this port plus its number, where `/metrics` has its "
        "figures alone; 0 disables this.",
    )
    log_level: LogLevel = Field(default="info", description="Least severity that is logged.")
    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65_535, description="TCP port to listen on; 0 takes a free one.")

    @field_validator("root_path")
    @classmethod
    def _root_path_is_a_path(cls, path: str) -> str:
        plain = path.rstrip("/")
        if not ROOT_PATH.fullmatch(plain):
            raise ValueError("it is a path such as /matte, of letters, digits and ._~- between its slashes")
        return plain


def _has_keys(info: ValidationInfo) -> bool:
    return bool(info.data.get("api_keys") or info.data.get("api_keys_file"))


__all__ = [
    "BUILT_IN_MODEL",
    "Settings",
    "SettingsError",
    "container_cores",
    "load_settings",
    "refuse_unknown",
    "visible_gpus",
]

PREFIX: Final = "MATTE_"
CGROUP: Final = Path("/sys/fs/cgroup")


class SettingsError(Exception):
    """A setting is unknown, out of range or of the wrong type. The message has one line per problem."""


class Settings(ProcessSettings, AccessSettings, LimitSettings, ModelSettings, BaseSettings):
    """All settings. Each field is read from `MATTE_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    @property
    def cpu_thread_count(self) -> int:
        """`cpu_threads`, or the number of cores if it is 0."""
        return self.cpu_threads or self.core_count

    @property
    def kinds(self) -> frozenset[str]:
        """`formats`, as `app.imaging.decode` calls them."""
        return frozenset(word.upper() for word in self.formats)

    @property
    def core_count(self) -> int:
        """`cores`, or if it is 0 the cores that this process may use, by its affinity and its container's limit."""
        return self.cores or min(len(os.sched_getaffinity(0)), container_cores() or 1_024)


def container_cores(cgroup: Path = CGROUP) -> int | None:
    """The CPU limit of a container in cores, rounded up; None if there is none. From Linux cgroups, version 2 or
    1."""
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


def _environment() -> Mapping[str, str]:
    return os.environ


def visible_gpus() -> int | None:
    """How many GPUs CUDA_VISIBLE_DEVICES leaves; None if it is not set, and all are visible. A negative number hides
    those that follow it."""
    names = _environment().get("CUDA_VISIBLE_DEVICES")
    if names is None:
        return None
    left = takewhile(lambda name: name.strip() and not name.strip().startswith("-"), names.split(","))
    return len(list(left))


def load_settings(*, host: str | None = None, port: int | None = None) -> Settings:
    """Read the environment; `host` and `port` take precedence over it, if given. Raises SettingsError."""
    refuse_unknown(_environment())
    chosen = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    try:
        return Settings.model_validate(Settings().model_dump() | chosen)
    except ValidationError as error:
        raise SettingsError("\n".join(_messages(error))) from None


def refuse_unknown(environment: Mapping[str, str]) -> None:
    """Raise SettingsError if a `MATTE_*` variable is no setting, so that a misspelt limit does not go unnoticed."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(
        name for name in environment if name.upper().startswith(PREFIX) and name.upper() not in known
    )
    if unknown:
        raise SettingsError(
            f"unknown setting: {', '.join(unknown)}\nknown settings: {', '.join(sorted(known))}"
        )


def _messages(error: ValidationError) -> list[str]:
    return [f"{PREFIX}{str(problem['loc'][0]).upper()}: {problem['msg']}" for problem in error.errors()]
