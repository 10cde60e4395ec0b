"""A photo and options come in, a request goes out, yet to be sent. Knows no connection.

Photos are read here, whole: a request that is sent again needs all of its bytes again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypedDict

from app.client.photos import FILE, Photo, read_photo

Source = Photo

Quality = Literal["standard", "high"]
Format = Literal["png", "webp", "avif", "jpg", "zip"]
Color = Literal["keep", "srgb"]
Subject = Literal["all", "main"]


class MatteOptions(TypedDict, total=False):
    """What a matte may cost, who makes it, and who is in it; None leaves the choice to the service.

    `quality`: `high` is a little better, at twice the network's cost. `model`: `name` or `name@version` of one in
    service. `subject`: `main` keeps the largest person alone; people who touch count as one.
    """

    quality: Quality | None
    model: str | None
    subject: Subject | None


class CutoutOptions(MatteOptions, total=False):
    """What becomes of the person in the photo; None leaves the choice to the service.

    `format`: `zip` holds color.jpg and alpha.png. `background`: a colour as a string (CSS name or hex), or a picture
    as a path object or whatever else a photo may be. `blur`: 1 to 100, the photo itself as the background, blurred
    that strongly, instead of `background`. `crop`: cut to the person, with `margin` around, such as `10%` or
    `20px 0`. `size`: `full`, or the most megapixels of the answer. `shadow`: 0 to 100. `color`: `srgb` converts
    the photo's colours, which else keep their own profile.
    """

    format: Format | None
    background: Photo | None
    blur: int | None
    crop: bool | None
    margin: str | None
    size: str | float | None
    shadow: int | None
    color: Color | None


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


def matte_call(photo: Source, options: MatteOptions) -> Call:
    """POST /v1/matte. Raises OSError when the photo cannot be read, TypeError for an option that there is not."""
    _refuse_unknown(options, MatteOptions)
    return Call("POST", "/v1/matte", _fields(options), {"image": read_photo(photo)[0]})


def cutout_call(photo: Source, options: CutoutOptions) -> Call:
    """POST /v1/cutout. Raises OSError when the photo or the background's picture cannot be read, TypeError for an
    option that there is not."""
    _refuse_unknown(options, CutoutOptions)
    files = {"image": read_photo(photo)[0]}
    background = options.get("background")
    if background is not None and not isinstance(background, str):
        files["background"] = read_photo(background)[0]
        options = {**options, "background": None}
    return Call("POST", "/v1/cutout", _fields(options), files)


def _refuse_unknown(options: Mapping[str, object], known: type) -> None:
    for name in options.keys() - known.__annotations__.keys():
        raise TypeError(f"there is no option {name!r}; there is {', '.join(known.__annotations__)}")


def _fields(options: Mapping[str, object]) -> dict[str, str]:
    return {name: _text(value) for name, value in options.items() if value is not None}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
