"""Names and digests of keys come in, from the settings and from a file; out goes whose a given key is.

    MATTE_API_KEYS        key,key,…   or   name:sha256:digest,…
    MATTE_API_KEYS_FILE   one key per line:   name sha256:digest [rate=photos per minute]   # comment

What is kept is the SHA-256 of each key. A slow hash protects what people think up; keys are random (`python -m app
key` draws 256 bits), so that nobody finds one from its digest, and every request would have to wait for a slow one.

Knows no request. No message holds a key or a digest: either may stand where the other should.
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

LOOK_EVERY_S: Final = 1.0  # Between two looks at the file.

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST: Final = re.compile(r"sha256:([0-9a-fA-F]{64})")
_RATE: Final = re.compile(r"rate=([0-9]{1,9})")
_NAME_IS: Final = "a name is up to 64 letters, digits and .-_ and begins with a letter or digit"
_log = logging.getLogger(__name__)

Stamp = tuple[int, int, int, int]


class KeysError(ValueError):
    """What should be keys is none. The message says where, and never shows what stands there."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is kept. `rate` is in photos per minute, 0 for no limit, None for the service's own."""

    name: str
    digest: bytes
    rate: int | None = None

    @property
    def line(self) -> str:
        """As it is written into the file."""
        rate = "" if self.rate is None else f" rate={self.rate}"
        return f"{self.name} sha256:{self.digest.hex()}{rate}"


def draw(name: str, rate: int | None = None) -> tuple[str, Key]:
    """A new random key, as its holder sends it and as it is kept. Raises KeysError for what can be no name."""
    secret = secrets.token_urlsafe(32)
    return secret, Key(_name(name), digest_of(secret.encode()), rate)


def digest_of(secret: bytes) -> bytes:
    """The 32 bytes that are kept of a key."""
    return hashlib.sha256(secret).digest()


class KeyRing:
    """All keys that are valid now.

    The file is looked at when a key is asked for, at most once a second, and read anew if it has changed: by then
    whoever added or revoked a key need do nothing more, and no signal has to find its way into a container and to
    each of its workers. While what stands there cannot be read, the keys from before stay valid, and the log says so
    once.
    """

    def __init__(
        self,
        fixed: Sequence[Key] = (),
        file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises KeysError if the file cannot be read. `clock`: seconds that never run backwards."""
        self.needed = bool(fixed) or file is not None
        self._fixed = tuple(fixed)
        self._file = file
        self._clock = clock
        self._looked = clock()
        self._stamp = None if file is None else _stamp(file)
        self._keys = self._read()

    def find(self, secret: bytes) -> Key | None:
        """Whose key this is. All are compared, each in constant time, so that the time taken tells nothing."""
        self._look()
        digest = digest_of(secret)
        matches = [key for key in self._keys if hmac.compare_digest(digest, key.digest)]
        return matches[0] if matches else None

    def _look(self) -> None:
        now = self._clock()
        if self._file is None or now < self._looked + LOOK_EVERY_S:
            return
        self._looked = now
        # Before reading: what is written while it is read changes the stamp once more.
        stamp = _stamp(self._file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = self._read()
        except KeysError as error:
            _log.error("the keys from before stay valid: %s", error)
        else:
            _log.info("keys were read anew", extra={"keys": [key.name for key in self._keys]})

    def _read(self) -> tuple[Key, ...]:
        read = () if self._file is None else read_file(self._file)
        return distinct((*self._fixed, *read))


def read_list(entries: Iterable[str]) -> tuple[Key, ...]:
    """Keys of MATTE_API_KEYS: plain ones, which are named by their places, and digests. Raises KeysError."""
    return distinct(_entry(entry, number) for number, entry in enumerate(entries, 1))


def read_file(path: Path) -> tuple[Key, ...]:
    """Keys of MATTE_API_KEYS_FILE. Raises KeysError."""
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IWOTH:
                raise KeysError(f"{path}: everybody on this machine may write into it; chmod o-w")
            lines = file.read().splitlines()
    except OSError as error:
        raise KeysError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise KeysError(f"{path}: is no text in UTF-8") from None
    try:
        return distinct(
            _line(words, number)
            for number, line in enumerate(lines, 1)
            if (words := line.partition("#")[0].split())
        )
    except KeysError as error:
        raise KeysError(f"{path}: {error}") from None


def distinct(keys: Iterable[Key]) -> tuple[Key, ...]:
    """`keys`, if no two have the same name or are the same. Raises KeysError."""
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
    """What changes when the file is written or replaced; None while it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
