"""Explain in a sentence which files of a folder are left out, and why. Reads no folder."""

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
# Files that `bulk` writes beside its results.
OWN: Final = frozenset({"_u2matte.json", "_u2matte.jsonl", "_failures.jsonl"})


def foreign(name: str) -> str:
    """Why a file of this name is not a photo; "" if it is one."""
    suffix = suffix_of(name)
    return "" if suffix in PHOTOS else suffix or _NAMELESS


def sentence(found: Mapping[Path, str], *, named: bool = False) -> str:
    """Count the files by reason, the most frequent first. `named`: also list the names if there are only a few."""
    kinds = Counter(found.values()).most_common()
    parts = [f"{count} {shown(Path(kind))}" for kind, count in kinds[:_KINDS_MAX]]
    if rest := sum(count for _kind, count in kinds[_KINDS_MAX:]):
        parts.append(f"{rest} of other kinds")
    text = f"{len(found)} file{'s' * (len(found) > 1)} left out: {', '.join(parts)}"
    if named and len(found) <= _NAMED_MAX:
        text += f" ({', '.join(map(shown, found))})"
    has_foreign = any(why.startswith(".") or why == _NAMELESS for why in found.values())
    return f"{text}; {READ}" if has_foreign else text


def nothing(found: Mapping[Path, str]) -> str:
    """The sentence for a folder without photos."""
    return f"no photo found; {sentence(found) if found else READ}"
