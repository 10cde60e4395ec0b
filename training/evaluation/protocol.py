"""How an artifact is judged: what its network sees of a picture, and what of the picture is scored. No pixels."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from model.cascade import stages
from model.contract import Manifest
from model.quality import Quality
from training.evaluation.crops import Crop

# P3M's test at RESIZE (Li et al., their core/test.py): half of each side, a multiple of 32, at most this.
RESIZE_SIDE_MAX: Final = 1600
RESIZE_STEP: Final = 32


class Sizing(StrEnum):
    """The size at which the network sees a picture."""

    SERVED = "served"
    RESIZE = "resize"


@dataclass(frozen=True, slots=True)
class Protocol:
    """How mattes are made and what of each picture is scored; the defaults are what the service does. `refined` and
    `quality` belong to `served` alone."""

    refined: bool = True
    quality: Quality = Quality.STANDARD
    crop: Crop = Crop.WHOLE
    sizing: Sizing = Sizing.SERVED

    def describe(self, manifest: Manifest) -> str:
        """In words, for the head of a table."""
        parts = []
        if self.sizing is Sizing.SERVED:
            sizes = ", then ".join(f"{stage.size}x{stage.size}" for stage in stages(manifest))
            parts += [f"served {sizes} {manifest.geometry}"]
            parts += ["refined" if self.refined else "not refined"]
            parts += [f"quality {self.quality}"] * (self.quality is not Quality.STANDARD)
        else:
            parts += [f"resize: half of each side, a multiple of {RESIZE_STEP}, at most {RESIZE_SIDE_MAX}"]
        parts += [f"cut {self.crop}"] * (self.crop is not Crop.WHOLE)
        return ", ".join(parts)


SERVED: Final = Protocol()
RESIZE: Final = Protocol(sizing=Sizing.RESIZE)
