"""The environment (`MATTE_*`) comes in, one frozen `Settings` goes out. Its only reader in app/.

Knows nothing of what the values are used for beyond their description, unit and limits.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.limit_settings import LimitSettings
from app.setting_groups import BUILT_IN_MODEL, AccessSettings, ModelSettings, ProcessSettings

__all__ = [
    "BUILT_IN_MODEL",
    "Settings",
    "SettingsError",
    "container_cores",
    "load_settings",
    "refuse_unknown",
]

PREFIX: Final = "MATTE_"
CGROUP: Final = Path("/sys/fs/cgroup")


class SettingsError(Exception):
    """A setting is unknown, out of its limits or of the wrong kind. The message has one line per problem."""


class Settings(ProcessSettings, AccessSettings, LimitSettings, ModelSettings, BaseSettings):
    """Everything an operator can choose. Each field is read from `MATTE_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    @property
    def cpu_thread_count(self) -> int:
        """`cpu_threads`, with 0 replaced by the number of cores this process may use."""
        return self.cpu_threads or self.core_count

    @property
    def core_count(self) -> int:
        """`cores`, with 0 replaced by those that this process may use, by its affinity and its container's limit."""
        return self.cores or min(len(os.sched_getaffinity(0)), container_cores() or 1_024)


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
