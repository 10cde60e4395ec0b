"""A response that is a success comes in, what it says goes out as values. Its picture is decoded where asked for."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import httpx

from app.client.errors import Unexpected, place

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray

ZIP: Final = "application/zip"
_TIMING: Final = re.compile(r"""([\w.-]+)(?:;(?!dur=)[^;,"]*(?:"[^"]*")?)*;dur=([0-9.]+)""")


@dataclass(frozen=True, slots=True)
class Box:
    """Where the foreground is in the answer's picture, in pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A matte or a cut-out: the file's bytes, and what the service says of it.

    `height` and `width` are the picture's, in pixels. `foreground`: somebody is in the photo. `confidence`: 0 to 1,
    the mIoU to expect of the matte. `model`: name@version. `box`: None where the service named none. `timings_ms`:
    milliseconds by stage. `subjects`: how many people, or groups of people who touch, are in the photo; None from a
    service that does not count them.
    """

    data: bytes = field(repr=False)
    media_type: str
    height: int
    width: int
    foreground: bool
    confidence: float
    model: str
    request_id: str
    box: Box | None = None
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    subjects: int | None = None

    @property
    def image(self) -> PIL.Image.Image:
        """A picture of Pillow's, decoded anew each time: `L` of a matte, `RGB` or `RGBA` of a cut-out.

        Raises ModuleNotFoundError without Pillow, ValueError for a ZIP, which holds two pictures.
        """
        if self.media_type == ZIP:
            raise ValueError('a ZIP holds two pictures: ask for format="png", or open answer.data by zipfile')
        try:
            import PIL.Image
        except ModuleNotFoundError as error:
            raise _missing("image", "Pillow", error) from None
        picture = PIL.Image.open(io.BytesIO(self.data))
        picture.load()
        return picture

    @property
    def array(self) -> NDArray[np.uint8]:
        """The picture as uint8 `[H,W]` of a matte, `[H,W,3]` RGB or `[H,W,4]` RGBA of a cut-out, decoded anew each
        time, yours to write into. Raises as `image` does, and ModuleNotFoundError without NumPy."""
        try:
            import numpy as np
        except ModuleNotFoundError as error:
            raise _missing("array", "NumPy", error) from None
        return np.array(self.image)


@dataclass(frozen=True, slots=True)
class Model:
    """A model in service, as GET /v1/models describes it."""

    name: str
    version: str
    role: str
    device: str
    runtime: str
    precision: str
    input_size: int
    sha256: str
    metrics: Mapping[str, float]
    licence: str
    architecture: str
    parameters: int


def read_answer(response: httpx.Response) -> Answer:
    """The picture of a success of /v1/matte or /v1/cutout. Raises Unexpected when it is not the service's."""
    headers = response.headers
    try:
        return Answer(
            data=response.content,
            media_type=headers["content-type"].partition(";")[0].strip(),
            height=int(headers["x-height"]),
            width=int(headers["x-width"]),
            foreground=headers["x-foreground"] == "person",
            confidence=float(headers["x-matte-confidence"]),
            model=headers["x-model"],
            request_id=headers["x-request-id"],
            box=_box(headers),
            timings_ms=read_timings(headers.get("server-timing", "")),
            subjects=int(headers["x-subjects"]) if "x-subjects" in headers else None,
        )
    except (KeyError, ValueError) as error:
        raise _unexpected(response, error) from None


def read_models(response: httpx.Response) -> tuple[Model, ...]:
    """The models of a success of /v1/models. Raises Unexpected when it is not the service's."""
    try:
        return tuple(_model(item) for item in response.json()["models"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _unexpected(response, error) from None


def read_ready(response: httpx.Response) -> bool:
    """True, of a success of /readyz. Raises Unexpected when it is not the service's."""
    try:
        if response.json()["status"] == "ready":
            return True
    except (ValueError, LookupError, TypeError) as error:
        raise _unexpected(response, error) from None
    raise _unexpected(response, ValueError("status"))


def read_timings(header: str) -> Mapping[str, float]:
    """A Server-Timing header as milliseconds by name; entries without a duration are left out.

    Raises ValueError for a duration that is no number.
    """
    return {name: float(duration) for name, duration in _TIMING.findall(header)}


def _missing(what: str, package: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    return ModuleNotFoundError(
        f"answer.{what} needs {package}, which is not installed: pip install {package.lower()}",
        name=error.name,
    )


def _box(headers: httpx.Headers) -> Box | None:
    if "x-foreground-top" not in headers:
        return None
    return Box(*(int(headers[f"x-foreground-{side}"]) for side in ("top", "left", "height", "width")))


def _model(item: Mapping[str, object]) -> Model:
    metrics = item["metrics"]
    if not isinstance(metrics, dict):
        raise TypeError("metrics")
    return Model(
        name=str(item["name"]),
        version=str(item["version"]),
        role=str(item["role"]),
        device=str(item["device"]),
        runtime=str(item["runtime"]),
        precision=str(item["precision"]),
        input_size=int(str(item["input_size"])),
        sha256=str(item["sha256"]),
        metrics={str(name): float(value) for name, value in metrics.items()},
        licence=str(item["licence"]),
        architecture=str(item["architecture"]),
        parameters=int(str(item["parameters"])),
    )


def _unexpected(response: httpx.Response, error: Exception) -> Unexpected:
    return Unexpected(
        f"{place(response.url)} answered {response.status_code}, but not as u2matte does ({error}).",
        status=response.status_code,
        request_id=response.headers.get("x-request-id", ""),
    )
