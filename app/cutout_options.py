"""What is to become of a photo, as it was said on the command line. Knows no pixels, and no service."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Output = Literal["matte", "cutout"]
Quality = Literal["standard", "high"]
Format = Literal["png", "webp", "avif", "jpg", "zip"]
Color = Literal["keep", "srgb"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The options of POST /v1/matte and POST /v1/cutout, by their names there.

    `background` is a colour as a string, or a picture's bytes. A matte has no option but `quality`.
    """

    output: Output
    quality: Quality = "standard"
    format: Format = "png"
    background: str | bytes | None = field(default=None, repr=False)
    blur: int | None = None
    crop: bool = False
    margin: str | None = None
    size: str = "full"
    shadow: int = 0
    color: Color = "keep"

    @property
    def suffix(self) -> str:
        """Of the files that are written."""
        return f".{self.format}"

    @property
    def doing(self) -> str:
        """What is being done, for the progress bar."""
        return "matting" if self.output == "matte" else "cutting out"

    def key(self, model: str) -> str:
        """All that decides what is made of a photo by `model`, as one line: the same key, the same result."""
        background = self.background
        if isinstance(background, bytes):
            background = "sha256:" + hashlib.sha256(background).hexdigest()
        values = {
            "model": model,
            "output": self.output,
            "quality": self.quality,
            "format": self.format,
            "background": background,
            "blur": self.blur,
            "crop": self.crop,
            "margin": self.margin,
            "size": self.size,
            "shadow": self.shadow,
            "color": self.color,
        }
        return json.dumps(values, sort_keys=True)


def read_background(value: str) -> str | bytes:
    """What `--background` means: a picture's bytes where it holds a dot or a slash, else a colour. Raises OSError."""
    if "://" in value:
        raise OSError(f"{value}: nothing is fetched from addresses; fetch it first, and name the file")
    if "." in value or os.sep in value:
        return Path(value).read_bytes()
    return value
