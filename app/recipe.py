"""One photo's way without its waits: bytes to squares for the network, and alphas to a PNG. Knows no queue."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app import codec, cutout
from model import matting
from model.matting import Matte, Quality
from model.transforms import Image


class Output(StrEnum):
    """What becomes of the alpha: a grey picture, or the photo's alpha channel."""

    MATTE = "matte"
    CUTOUT = "cutout"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A decoded photo uint8 `[H,W,3]` and the squares uint8 `[S,S,3]` that the network is to see of it."""

    image: Image
    views: list[Image]


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of one photo's way: work on the CPU, wait for its batch, the batch's run, work on the CPU."""

    decode_s: float
    queue_s: float
    infer_s: float
    refine_s: float
    encode_s: float


@dataclass(frozen=True, slots=True)
class Result:
    """A finished PNG of `height` x `width` pixels, and what `model.matting.Matte` says of it."""

    png: bytes
    height: int
    width: int
    confidence: float
    foreground: bool
    timings: Timings

    @property
    def found(self) -> str:
        """What is in the photo, in the one word that the header and the metrics use."""
        return "person" if self.foreground else "none"


def prepare(data: bytes, size: int, geometry: str, quality: Quality, *, max_pixels: int) -> Prepared:
    """Decode and lay into the network's square of `size` pixels. Raises codec's ClientErrors."""
    image = codec.decode_image(data, max_pixels=max_pixels)
    return Prepared(image, matting.views(image, size, geometry, quality))


def encode(image: Image, matte: Matte, output: Output) -> bytes:
    """The PNG of the photo's size: grey, or the photo with the matte as its alpha channel."""
    if output is Output.MATTE:
        return codec.encode_png(matte.alpha)
    return codec.encode_png(cutout.compose_rgba(image, matte.alpha))
