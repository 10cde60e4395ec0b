"""A photo and what is wished for come in, a request goes out, yet to be sent. Knows no connection.

Photos are read here, whole: a request that is sent again needs all of its bytes again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from app.client.photos import FILE, Photo, read_photo

Source = Photo

Quality = Literal["standard", "high"]
Format = Literal["png", "webp", "jpg", "zip"]


@dataclass(frozen=True, slots=True)
class CutoutOptions:
    """What becomes of the person in the photo; None leaves the choice to the service.

    `format`: `zip` holds color.jpg and alpha.png. `background`: a colour as a string (CSS name or hex), or a picture
    as a path object or whatever else a photo may be. `blur`: 1 to 100, the photo itself as the background, blurred
    that strongly, instead of `background`. `crop`: cut to the person, with `margin` around, such as `10%` or
    `20px 0`. `size`: `full`, or the most megapixels of the answer. `shadow`: 0 to 100. `quality`: `high` is a little
    better, at twice the network's cost. `model`: `name` or `name@version` of one in service.
    """

    format: Format | None = None
    background: Photo | None = field(default=None, repr=False)
    blur: int | None = None
    crop: bool | None = None
    margin: str | None = None
    size: str | float | None = None
    shadow: int | None = None
    quality: Quality | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request: form fields, and the bytes of the files that go with them, by their names."""

    method: str
    path: str
    fields: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def parts(self) -> dict[str, tuple[str, bytes, str]]:
        """The files as httpx takes them. They are sent without their own names, which concern nobody."""
        return {name: (name, data, FILE) for name, data in self.files.items()}


MODELS: Final = Call("GET", "/v1/models")
READY: Final = Call("GET", "/readyz")


def matte_call(photo: Source, quality: Quality | None, model: str | None = None) -> Call:
    """POST /v1/matte. Raises OSError when the photo cannot be read."""
    return Call(
        "POST", "/v1/matte", _fields({"quality": quality, "model": model}), {"image": read_photo(photo)[0]}
    )


def cutout_call(photo: Source, options: CutoutOptions) -> Call:
    """POST /v1/cutout. Raises OSError when the photo or the background's picture cannot be read."""
    files = {"image": read_photo(photo)[0]}
    background = options.background
    if background is not None and not isinstance(background, str):
        files["background"] = read_photo(background)[0]
        background = None
    fields = {
        "format": options.format,
        "background": background,
        "blur": options.blur,
        "crop": options.crop,
        "margin": options.margin,
        "size": options.size,
        "shadow": options.shadow,
        "quality": options.quality,
        "model": options.model,
    }
    return Call("POST", "/v1/cutout", _fields(fields), files)


def _fields(values: Mapping[str, str | float | bool | None]) -> dict[str, str]:
    return {name: _text(value) for name, value in values.items() if value is not None}


def _text(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
