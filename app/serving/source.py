"""Where models come from: what there is, and how one of it is loaded. Knows neither folders nor TensorFlow itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.predictor import Predictor
from app.serving.store import Stored
from model.contract import Manifest


@dataclass(frozen=True, slots=True)
class Source:
    """Where models come from. `look` raises ContractError, `load` that or LoadError; both may take long."""

    look: Callable[[], list[Stored]]
    load: Callable[[Stored], Predictor]


def only(manifest: Manifest, load: Callable[[], Predictor]) -> Source:
    """One model that does not change."""
    return Source(lambda: [Stored(Path(), manifest, 0)], lambda _: load())
