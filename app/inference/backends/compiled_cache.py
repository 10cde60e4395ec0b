"""A cache of the networks that OpenVINO compiles for this machine, so that the next start compiles nothing.

An entry is identified by the model's digest, by what compiled it (OpenVINO's version and this package's changes to
the network), by the CPU, and by a key: the way the network runs. Several processes may share the folder. If it is
read-only or missing, nothing is stored and the log says so once. Whoever may write to the folder chooses what the
service runs; by default it belongs to the user alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import mmap
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

BYTES_MAX: Final = 1 << 30  # of all entries; the least recently used are removed first
SUFFIX: Final = ".compiled"
DIGEST_SIZE: Final = 32  # bytes of SHA-256, at the end of each entry

_log = logging.getLogger(__name__)


class CompiledCache:
    """The entries of one model in `folder`; None stores nothing."""

    def __init__(self, folder: Path | None, model: str, compiler: str) -> None:
        self._folder = folder
        self._model = f"{model}\0{compiler}\0{_machine()}\0{_own_code()}"

    def get(self, key: str) -> memoryview | None:
        """The content of an entry, mapped into memory, or None if it is missing or damaged."""
        if self._folder is None:
            return None
        path = self._path(key)
        try:
            with path.open("rb") as file:
                stored = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        except OSError:
            return None
        except ValueError:  # nothing in it
            stored = memoryview(b"")
        content, digest = stored[:-DIGEST_SIZE], stored[-DIGEST_SIZE:]
        if hashlib.sha256(content).digest() != digest:
            _log.warning("%s is damaged: compiling again", path)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return content

    def put(self, key: str, content: bytes) -> None:
        """Store `content`, completely or not at all."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".partial", delete=False) as file:
                try:
                    file.write(content)
                    file.write(hashlib.sha256(content).digest())
                    file.close()
                    Path(file.name).replace(self._path(key))
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
            _evict(self._folder.glob(f"*{SUFFIX}"))
        except OSError as error:
            _log.info("compiled networks are not stored in %s: %s", self._folder, error.strerror or error)
            self._folder = None

    def remove(self, key: str) -> None:
        """Remove an entry that OpenVINO rejects."""
        if self._folder is not None:
            with contextlib.suppress(OSError):
                self._path(key).unlink()

    def _path(self, key: str) -> Path:
        assert self._folder is not None
        digest = hashlib.sha256(f"{self._model}\0{key}".encode()).hexdigest()
        return self._folder / f"{digest[:40]}{SUFFIX}"


def folder_of(setting: str) -> Path | None:
    """The folder that MATTE_CACHE_DIR names; None for none. `auto` is the user's cache folder, or none if there is no
    home."""
    if setting != "auto":
        return Path(setting) if setting else None
    own = user_cache_path("u2matte")
    return own if own.is_absolute() else None


def _evict(entries: Iterable[Path]) -> None:
    """Remove the least recently used entries until the rest has at most BYTES_MAX bytes."""
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
    fields = ("model name", "flags", "Features", "CPU part")
    found = {line for line in lines if line.startswith(fields)}
    return "\n".join([platform.machine(), *sorted(found)])


@cache
def _own_code() -> str:
    """A digest of the modules that change networks before OpenVINO compiles them."""
    digest = hashlib.sha256()
    for path in (*sorted(Path(__file__).parent.glob("*.py")), Path(eight_bits.__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()
