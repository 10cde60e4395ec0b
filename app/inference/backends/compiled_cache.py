"""A folder of networks that OpenVINO has compiled for this machine, so that a second start compiles nothing.

In: a model's digest and how it is to run. Out: what was kept under both, bytes or nothing. An entry is known by the
model, by what compiled it (OpenVINO, this package's own changes to the network) and by the CPU, so that none is ever
taken for another's. The folder may be shared by processes, read-only or gone: then nothing is kept, and the log
says so once. Whoever may write there decides what runs; by default it is the user's own.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path

from app.inference.backends.devices import CPU_INFO
from model import eight_bits

BYTES_MAX: Final = 1 << 30  # of all entries; those that were not used for the longest time go first
SUFFIX: Final = ".compiled"

_log = logging.getLogger(__name__)


class CompiledCache:
    """The entries of one model in `folder`; None keeps nothing."""

    def __init__(self, folder: Path | None, model: str, compiler: str) -> None:
        self._folder = folder
        self._model = f"{model}\0{compiler}\0{_machine()}\0{_own_code()}"

    @property
    def keeps(self) -> bool:
        return self._folder is not None

    def get(self, what: str) -> bytes | None:
        if self._folder is None:
            return None
        path = self._path(what)
        try:
            kept = path.read_bytes()
            digest, content = kept[:32], kept[32:]
        except OSError:
            return None
        if hashlib.sha256(content).digest() != digest:
            _log.warning("%s is damaged: compiling anew", path)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return content

    def put(self, what: str, content: bytes) -> None:
        """Keep `content`, whole or not at all."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".partial", delete=False) as file:
                try:
                    file.write(hashlib.sha256(content).digest())
                    file.write(content)
                    file.close()
                    Path(file.name).replace(self._path(what))
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
            _bound(self._folder.glob(f"*{SUFFIX}"))
        except OSError as error:
            _log.info("compiled networks are not kept in %s: %s", self._folder, error.strerror or error)
            self._folder = None

    def forget(self, what: str) -> None:
        """Of an entry that OpenVINO does not take."""
        if self._folder is not None:
            with contextlib.suppress(OSError):
                self._path(what).unlink()

    def _path(self, what: str) -> Path:
        assert self._folder is not None
        digest = hashlib.sha256(f"{self._model}\0{what}".encode()).hexdigest()
        return self._folder / f"{digest[:40]}{SUFFIX}"


def folder_of(setting: str) -> Path | None:
    """The folder that MATTE_CACHE_DIR names; None for none. `auto` is the user's own for what can be made again, and
    none where there is no home."""
    if setting != "auto":
        return Path(setting) if setting else None
    own = user_cache_path("u2matte")
    return own if own.is_absolute() else None


def _bound(entries: Iterable[Path]) -> None:
    """Remove the least recently used entries until all together have BYTES_MAX at most."""
    found = []
    for path in entries:
        with contextlib.suppress(OSError):  # another process may have removed it
            status = path.stat()
            found.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= BYTES_MAX:
            return
        path.unlink(missing_ok=True)
        total -= size


@cache
def _machine() -> str:
    """The kind of CPU: its architecture, model and feature flags."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    told = ("model name", "flags", "Features", "CPU part")
    seen = {line for line in lines if line.startswith(told)}
    return "\n".join([platform.machine(), *sorted(seen)])


@cache
def _own_code() -> str:
    """A digest of the modules that change networks before OpenVINO compiles them."""
    digest = hashlib.sha256()
    for path in (*sorted(Path(__file__).parent.glob("*.py")), Path(eight_bits.__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()
