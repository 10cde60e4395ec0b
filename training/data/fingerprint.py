"""Which pictures a run is trained on: enough to tell, when it is taken up again, whether they are still the same.

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
class Group:
    """How many pictures, and SHA-256 over their names and over their files' sizes in bytes."""

    count: int
    names: str
    sizes: str


@dataclass(frozen=True, slots=True)
class Pictures:
    """Of a run; the names of the fields are those of messages."""

    training: Group
    validation: Group
    backgrounds: Group

    @classmethod
    def of(
        cls, training: Sequence[Pair], validation: Sequence[Pair], backgrounds: Sequence[Path]
    ) -> Pictures:
        return cls(_pairs(training), _pairs(validation), _group([(path.name, path) for path in backgrounds]))

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    def changed_since(self, record: str) -> str:
        """What is not as `to_json` recorded it, in words; "" where all is."""
        before = json.loads(record)
        return ", ".join(
            f"{name}: {_difference(Group(**before[name]), getattr(self, name))}"
            for name in (field.name for field in dataclasses.fields(self))
            if Group(**before[name]) != getattr(self, name)
        )


def _difference(before: Group, now: Group) -> str:
    if before.count != now.count:
        return f"{now.count} instead of {before.count}"
    return f"{now.count} of the same names, but other files" if before.names == now.names else "other names"


def _pairs(pairs: Sequence[Pair]) -> Group:
    files = [(pair.stem, path) for pair in pairs for path in (pair.image, pair.alpha)]
    return dataclasses.replace(_group(files), count=len(pairs))


def _group(files: Sequence[tuple[str, Path]]) -> Group:
    names = "\n".join(name for name, _ in files)
    sizes = "\n".join(str(path.stat().st_size if path.exists() else 0) for _, path in files)
    return Group(len(files), *(hashlib.sha256(text.encode()).hexdigest() for text in (names, sizes)))
