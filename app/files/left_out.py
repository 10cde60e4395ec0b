"""What of a folder is not done, and why, as one sentence. Knows no folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from app.files.names import PHOTOS, shown, suffix_of

READ: Final = "only JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP and GIF are read"
_NAMELESS: Final = "without a suffix"
_KINDS_MAX: Final = 8
_NAMED_MAX: Final = 5
# Files that `bulk` keeps beside its results.
OWN: Final = frozenset({"_u2matte.json", "_u2matte.jsonl", "_failures.jsonl"})


def foreign(name: str) -> str:
    """Why a file of this name is no photo, "" if it is one."""
    suffix = suffix_of(name)
    return "" if suffix in PHOTOS else suffix or _NAMELESS


def sentence(found: Mapping[Path, str], *, named: bool = False) -> str:
    """How many files, by what is said of each; the most frequent first. `named`: a few are also called by name."""
    kinds = Counter(found.values()).most_common()
    parts = [f"{count} {shown(Path(kind))}" for kind, count in kinds[:_KINDS_MAX]]
    if rest := sum(count for _kind, count in kinds[_KINDS_MAX:]):
        parts.append(f"{rest} of other kinds")
    said = f"{len(found)} file{'s' * (len(found) > 1)} left out: {', '.join(parts)}"
    if named and len(found) <= _NAMED_MAX:
        said += f" ({', '.join(map(shown, found))})"
    foreign_there = any(why.startswith(".") or why == _NAMELESS for why in found.values())
    return f"{said}; {READ}" if foreign_there else said


def nothing(found: Mapping[Path, str]) -> str:
    """Where no photo is among them."""
    return f"no photo found; {sentence(found) if found else READ}"
