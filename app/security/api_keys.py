"""API keys: read names and digests from the settings and a file, and find the key that a request sends.

    MATTE_API_KEYS        key,key,…   or   name:sha256:digest,…
    MATTE_API_KEYS_FILE   one key per line:   name sha256:digest [rate=photos per minute]   # comment

Only the SHA-256 of a key is kept. Slow hashes protect passwords that people choose; keys are random (`python -m app
key` draws 256 bits) and cannot be guessed from a digest, and a slow hash would delay every request.

Knows no HTTP. No message contains a key or a digest: a user may have swapped the two.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.security.rate_limit import RATE_MAX

CHECK_EVERY_S: Final = 1.0  # Between two checks of the file.

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST: Final = re.compile(r"sha256:([0-9a-fA-F]{64})")
_RATE: Final = re.compile(r"rate=([0-9]{1,9})")
_NAME_IS: Final = "a name is up to 64 letters, digits and .-_ and begins with a letter or digit"
_log = logging.getLogger(__name__)

Stamp = tuple[int, int, int, int]


class KeysError(ValueError):
    """The configured keys are invalid. The message says where, and never quotes the entry."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is stored. `rate` is in photos per minute, 0 for no limit, None for the service's default."""

    name: str
    digest: bytes
    rate: int | None = None

    @property
    def line(self) -> str:
        """The key's line in the file."""
        rate = "" if self.rate is None else f" rate={self.rate}"
        return f"{self.name} sha256:{self.digest.hex()}{rate}"


def generate_key(name: str, rate: int | None = None) -> tuple[str, Key]:
    """Generate a random key: the secret for its user, and the stored form. Raises KeysError for an invalid name."""
    secret = secrets.token_urlsafe(32)
    return secret, Key(_name(name), digest_of(secret.encode()), rate)


def digest_of(secret: bytes) -> bytes:
    """The SHA-256 of a key, 32 bytes."""
    return hashlib.sha256(secret).digest()


class KeyRing:
    """All keys that are valid now.

    When a key is looked up, and at most once a second, the file is checked and read again if it has changed. Adding
    or revoking a key therefore needs no signal to the container and its workers. If the file is invalid, the previous
    keys stay valid and the log says so once.
    """

    def __init__(
        self,
        fixed: Sequence[Key] = (),
        file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises KeysError if the file is invalid. `clock`: monotonic seconds."""
        self.needed = bool(fixed) or file is not None
        self._fixed = tuple(fixed)
        self._file = file
        self._clock = clock
        self._checked_at = clock()
        self._stamp = None if file is None else _stamp(file)
        self._keys = self._read()

    def find(self, secret: bytes) -> Key | None:
        """Find the key of a secret. Compares all keys in constant time, so that the duration reveals nothing."""
        self._reload_if_changed()
        digest = digest_of(secret)
        matches = [key for key in self._keys if hmac.compare_digest(digest, key.digest)]
        return matches[0] if matches else None

    def _reload_if_changed(self) -> None:
        now = self._clock()
        if self._file is None or now < self._checked_at + CHECK_EVERY_S:
            return
        self._checked_at = now
        # Before reading: a write during the read changes the stamp again.
        stamp = _stamp(self._file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = self._read()
        except KeysError as error:
            _log.error("the previous keys stay valid: %s", error)
        else:
            _log.info("keys were reloaded", extra={"keys": [key.name for key in self._keys]})

    def _read(self) -> tuple[Key, ...]:
        read = () if self._file is None else read_file(self._file)
        return distinct((*self._fixed, *read))


def read_list(entries: Iterable[str]) -> tuple[Key, ...]:
    """Read MATTE_API_KEYS: plain keys, which are named by their positions, and digests. Raises KeysError."""
    return distinct(_entry(entry, number) for number, entry in enumerate(entries, 1))


def read_file(path: Path) -> tuple[Key, ...]:
    """Read MATTE_API_KEYS_FILE. Raises KeysError."""
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IWOTH:
                raise KeysError(f"{path}: everybody on this machine may write to it; run chmod o-w")
            lines = file.read().splitlines()
    except OSError as error:
        raise KeysError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise KeysError(f"{path}: not UTF-8 text") from None
    try:
        return distinct(
            _line(words, number)
            for number, line in enumerate(lines, 1)
            if (words := line.partition("#")[0].split())
        )
    except KeysError as error:
        raise KeysError(f"{path}: {error}") from None


def distinct(keys: Iterable[Key]) -> tuple[Key, ...]:
    """Return `keys` if their names and digests are all different. Raises KeysError."""
    by_digest: dict[bytes, str] = {}
    for key in (checked := tuple(keys)):
        if key.name in by_digest.values():
            raise KeysError(f"two keys are named {key.name}")
        if key.digest in by_digest:
            raise KeysError(f"{by_digest[key.digest]} and {key.name} are the same key")
        by_digest[key.digest] = key.name
    return checked


def _entry(entry: str, number: int) -> Key:
    if not entry.isascii():
        raise KeysError("keys must be ASCII, as HTTP headers are")
    name, colon, written = entry.partition(":")
    if "sha256:" not in entry:
        return Key(f"key-{number}", digest_of(entry.encode()))
    digest = _DIGEST.fullmatch(written)
    if not colon or digest is None:
        raise KeysError(f"entry {number} is neither a key nor name:sha256: and 64 hexadecimal digits")
    return Key(_name(name), bytes.fromhex(digest[1]))


def _line(words: Sequence[str], number: int) -> Key:
    match words:
        case [name, written, *rest] if (
            len(rest) <= 1 and _NAME.fullmatch(name) and (digest := _DIGEST.fullmatch(written))
        ):
            return Key(name, bytes.fromhex(digest[1]), _rate(rest[0], number) if rest else None)
    raise KeysError(
        f"line {number} is not `name sha256:digest [rate=N]`, as `python -m app key NAME` makes it: "
        f"{_NAME_IS}; the digest has 64 hexadecimal digits"
    )


def _rate(word: str, number: int) -> int:
    written = _RATE.fullmatch(word)
    if written is None or int(written[1]) > RATE_MAX:
        raise KeysError(f"line {number}: the rate is rate=0 to rate={RATE_MAX}, in photos per minute")
    return int(written[1])


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise KeysError(_NAME_IS)
    return text


def _stamp(path: Path) -> Stamp | None:
    """What changes when the file is written or replaced; None while it does not exist."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
