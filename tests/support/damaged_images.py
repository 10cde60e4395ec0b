"""Photos that were cut off or written over on their way, by kind, as `hostile_images` has the bad ones.

What becomes of them is settled. A file that is cut off is refused, and so is a PNG of which a byte is another, since
it carries checksums; JPEG and WebP carry none. Of a JPEG libjpeg draws what it can read, and something grey or
smeared from there on; the service takes that picture as it takes any, in the size of its header, and the same each
time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Final

import numpy as np
import PIL.Image

from app.errors import ClientError, UnreadableImage
from tests.support.hostile_images import Case
from tests.support.images import jpeg, portrait, saved

SIZE: Final = (300, 400)
KILOBYTE: Final = 1_024
BLOCK: Final = 512  # bytes: what a disk writes at once
PLACES: Final = 9


@cache
def files() -> dict[str, bytes]:
    """Some 20 kB or more each, which takes noise: drawn pictures are small."""
    noise = np.random.default_rng(5).integers(-12, 13, (*SIZE, 3))
    image = np.clip(portrait(*SIZE) + noise, 0, 255).astype(np.uint8)
    return {
        "baseline": saved(image, "JPEG", quality=85),
        "progressive": saved(image, "JPEG", quality=85, progressive=True),
        "restarting": saved(image, "JPEG", quality=85, restart_marker_rows=1),
        "sideways": jpeg(np.ascontiguousarray(image.swapaxes(0, 1)), orientation=6),
        "CMYK": saved(PIL.Image.fromarray(image).convert("CMYK"), "JPEG"),
        "PNG": saved(image[:60], "PNG"),
        "lossy WebP": saved(image, "WEBP"),
        "lossless WebP": saved(image[:60], "WEBP", lossless=True),
    }


def overwritten(data: bytes, at: int, fill: str) -> bytes:
    """One block of it is `zeros`, `ones` or at `random`."""
    blocks = {"zeros": bytes(BLOCK), "ones": b"\xff" * BLOCK}
    block = blocks.get(fill) or np.random.default_rng(at).integers(0, 256, BLOCK, np.uint8).tobytes()
    return data[:at] + block + data[at + BLOCK :]


def _cut() -> Iterator[Case]:
    for name, data in files().items():
        for end in range(KILOBYTE, len(data), KILOBYTE):
            yield Case(f"{name} cut at {end}", data[:end], ClientError)


def _overwritten() -> Iterator[Case]:
    for name, data in files().items():
        for at in np.linspace(KILOBYTE, len(data) - KILOBYTE, PLACES).astype(int):
            for fill in ("zeros", "ones", "random"):
                expected = UnreadableImage if name == "PNG" else None
                yield Case(f"{name}, {fill} at {at}", overwritten(data, int(at), fill), expected)


KINDS: Final[dict[str, Callable[[], Iterator[Case]]]] = {
    "cut at each kilobyte": _cut,
    "a block overwritten": _overwritten,
}
