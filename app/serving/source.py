"""Where models come from: what there is, and how one of it is loaded. Knows neither folders nor TensorFlow itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from app import predictor
from app.network import compiled_cache
from app.network.running import Predict
from app.predictor import Predictor
from app.serving.store import Stored, look
from app.settings import Settings
from model.contract import Manifest

STAND_IN: Final = Manifest("stand-in", "0", input_size=64, geometry="stretch", files={})
"""Who the X-Model header names when a function takes the network's place."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where models come from. `look` raises ContractError, `load` that or LoadError; both may take long."""

    look: Callable[[], list[Stored]]
    load: Callable[[Stored], Predictor]


def only(manifest: Manifest, load: Callable[[], Predictor]) -> Source:
    """One model that does not change."""
    return Source(lambda: [Stored(Path(), manifest, 0)], lambda _: load())


def model_source(settings: Settings, predict: Predict | None = None, gpu: int = 0) -> Source:
    """Where the models that the settings name come from; `predict`, where given, takes the place of all."""
    if predict is not None:
        sizes = predictor.batch_sizes_up_to(settings.max_batch_size or predictor.LARGEST_ON_CPU)
        return only(STAND_IN, partial(Predictor, STAND_IN, "none", "float32", sizes, predict))

    def load(stored: Stored) -> Predictor:
        return predictor.load(
            stored.path,
            device=settings.device,
            precision=settings.precision,
            runtime=settings.runtime,
            max_batch_size=settings.max_batch_size,
            lanes=settings.lanes,
            cores=settings.core_count,
            gpu=gpu,
            cache_dir=compiled_cache.folder_of(settings.cache_dir),
        )

    return Source(partial(look, settings.model_dir), load)
