"""The fingerprint of a run's pictures: enough to say, when the run is resumed, whether they are still the same.

In: the pairs and backgrounds of a run. Out: how many there are, and digests of their names and of their files' sizes.
Paths are not looked at: data may move.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data.dataset import Pair


@dataclass(frozen=True, slots=True)
class FilesDigest:
    """How many pictures, and SHA-256 over their names and over their files' sizes in bytes."""

    count: int
    names: str
    sizes: str


@dataclass(frozen=True, slots=True)
class DataFingerprint:
    """The fingerprint of a run's pictures. Messages and pictures.json use the names of the fields."""

    training: FilesDigest
    validation: FilesDigest
    backgrounds: FilesDigest

    @classmethod
    def of(
        cls, training: Sequence[Pair], validation: Sequence[Pair], backgrounds: Sequence[Path]
    ) -> DataFingerprint:
        return cls(
            _pairs_digest(training),
            _pairs_digest(validation),
            _files_digest([(path.name, path) for path in backgrounds]),
        )

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    def changed_since(self, record: str) -> str:
        """Say what differs from an earlier `to_json`; "" where nothing does."""
        before = json.loads(record)
        return ", ".join(
            f"{name}: {_difference(FilesDigest(**before[name]), getattr(self, name))}"
            for name in (field.name for field in dataclasses.fields(self))
            if FilesDigest(**before[name]) != getattr(self, name)
        )


def _difference(before: FilesDigest, now: FilesDigest) -> str:
    if before.count != now.count:
        return f"{now.count} instead of {before.count}"
    return f"{now.count} of the same names, but other files" if before.names == now.names else "other names"


def _pairs_digest(pairs: Sequence[Pair]) -> FilesDigest:
    files = [(pair.stem, path) for pair in pairs for path in (pair.image, pair.alpha)]
    return dataclasses.replace(_files_digest(files), count=len(pairs))


def _files_digest(files: Sequence[tuple[str, Path]]) -> FilesDigest:
    names = "\n".join(name for name, _ in files)
    sizes = "\n".join(str(path.stat().st_size if path.exists() else 0) for _, path in files)
    return FilesDigest(len(files), *(hashlib.sha256(text.encode()).hexdigest() for text in (names, sizes)))
