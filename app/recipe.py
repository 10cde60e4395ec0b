"""One photo's way without its waits: bytes to squares for the network, and alphas to a file. Knows no queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from app import codec, stages
from app.errors import ClientError
from app.output import MATTE, Output
from app.picture import encoding
from app.picture.framing import Box
from app.rendering import render
from model import matting
from model.contract import Manifest
from model.matting import Quality
from model.transforms import Alpha, Image

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A decoded photo uint8 `[H,W,3]` or smaller, its own height and width, the squares uint8 `[S,S,3]` that the
    network is to see of it, and the decoded background, if a picture is one."""

    image: Image
    size: tuple[int, int]
    views: list[Image]
    picture: Image | None


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished file of a picture of `height` x `width` pixels, where the person is in it (None: nobody is), what
    `model.matting.Matte` says of it, and the seconds of each stage of `finish` by its name."""

    data: bytes
    media_type: str
    height: int
    width: int
    person: Box | None
    confidence: float
    foreground: bool
    seconds: Mapping[str, float]

    @property
    def found(self) -> str:
        """What is in the photo, in the one word that the header and the metrics use."""
        return "person" if self.foreground else "none"


def count_pixels(data: bytes, output: Output, *, max_pixels: int) -> int:
    """Of the photo and of the background's picture, by their headers. Raises codec's ClientErrors."""
    pixels = codec.count_pixels(data, max_pixels=max_pixels)
    ground = output.background
    if isinstance(ground, bytes):
        pixels += _of_background(lambda: codec.count_pixels(ground, max_pixels=max_pixels))
    return pixels


def prepare(
    data: bytes, output: Output, size: int, geometry: str, quality: Quality, *, max_pixels: int
) -> Prepared:
    """Decode and lay into the network's square of `size` pixels. Raises codec's ClientErrors."""

    watch = _Stopwatch()

    def reduction(height: int, width: int) -> int:
        # A matte holds no colours, so a photo whose edges are followed at half its size is decoded at that.
        return matting.reduction(height, width, size, quality) if output == MATTE else 1

    image, own_size = codec.decode_reduced(data, max_pixels=max_pixels, reduction=reduction)
    ground, picture = output.background, None
    if isinstance(ground, bytes):
        picture = _of_background(lambda: codec.decode_image(ground, max_pixels=max_pixels))
    views = matting.views(image, size, geometry, quality, photo_size=own_size)
    watch.lap("decode")
    return Prepared(image, own_size, views, picture)


def finish(prepared: Prepared, alphas: Sequence[Alpha], output: Output, manifest: Manifest) -> Finished:
    """From the network's alpha of each view to the file that is wished for; the whole photo's where nobody is found.

    Raises rendering's and encoding's ClientErrors.
    """
    watch = _Stopwatch()
    matte = matting.finish(
        prepared.image,
        prepared.views,
        alphas,
        manifest.geometry,
        sharpness=manifest.sharpness,
        photo_size=prepared.size,
    )
    watch.lap("refine")
    wished = output if matte.foreground else replace(output, crop=None, placement=None)
    rendered = render(prepared.image, matte.alpha, wished, prepared.picture)
    if output != MATTE:
        watch.lap("compose")
    data = encoding.encode(rendered.pixels, output.format)
    watch.lap("encode")
    height, width = rendered.pixels.shape[:2]
    kind = output.format.media_type
    person = rendered.person if matte.foreground else None
    return Finished(data, kind, height, width, person, matte.confidence, matte.foreground, watch.seconds)


def _of_background(work: Callable[[], T]) -> T:
    """So that its errors are not taken for the photo's."""
    try:
        return work()
    except ClientError as error:
        raise type(error)(f"Background: {error.detail}") from None


class _Stopwatch:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        stages.note(stage, self._since, now)
        self.seconds[stage], self._since = now - self._since, now
