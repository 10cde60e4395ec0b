"""Make the pixels of the answer from a photo and its matte, as an `Output` says. Knows no bytes and no HTTP.

frame     alpha outside the region is 0; cut to the person; made smaller
person    his own colours, his place
ground    shadow, colour, picture or blurred photo under him
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from app.errors import InvalidOption, RegionEmpty, RegionOutside
from app.imaging.compose import compose_rgba, lay_over, lay_under, resize_cutout
from app.imaging.crop import Box, Placement, Region, foreground_box, limit_pixels, with_margins
from app.imaging.foreground import Plane, cut_out, estimate_foreground, mean_around, reduced
from app.imaging.output import Channels, Output
from app.imaging.tiles import OPAQUE, Strips
from app.values import Ground
from model.transforms import Alpha8, Image, stretch

BLACK: Final = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Rendered:
    """uint8 `[H,W]` (alpha alone), `[H,W,3]` or `[H,W,4]`, and where the person is in it; None: nobody there."""

    pixels: Image | Strips
    person: Box | None


def render(image: Image, alpha: Alpha8, output: Output, picture: Image | None = None) -> Rendered:
    """Photo uint8 `[H,W,3]`, alpha uint8 `[H,W]`, and the decoded background `picture`, if there is one.

    Raises InvalidOption, RegionEmpty or RegionOutside.
    """
    image, alpha = _framed(image, alpha, output)
    person = foreground_box(alpha)
    if output.channels is Channels.ALPHA:
        if output.placement and person:
            _, alpha = _placed(image, alpha, person, output.placement)
            person = foreground_box(alpha)
        return Rendered(alpha, person)
    ground = _ground(image, alpha, output, picture)
    if ground is None and not (output.placement or output.shadow):
        return Rendered(cut_out(image, alpha), person)
    colours = estimate_foreground(image, alpha)
    if output.placement and person:
        colours, alpha = _placed(colours, alpha, person, output.placement)
        person = foreground_box(alpha)
    return Rendered(_laid(colours, alpha, ground, output.shadow), person)


def _framed(image: Image, alpha: Alpha8, output: Output) -> tuple[Image, Alpha8]:
    if output.region:
        alpha = _within(alpha, output.region)
    person = foreground_box(alpha) if output.margins else None
    if output.margins and person:
        part = with_margins(person, output.margins, *alpha.shape).part
        image, alpha = image[part], alpha[part]
    if output.size:
        height, width = limit_pixels(alpha.shape[0], alpha.shape[1], output.size)
        if (height, width) != alpha.shape:
            image, alpha = stretch(image, height, width), stretch(alpha, height, width)
    return np.ascontiguousarray(image), np.ascontiguousarray(alpha)


def _within(alpha: Alpha8, region: Region) -> Alpha8:
    try:
        part = region.box(*alpha.shape).part
    except IndexError as error:
        raise RegionOutside(f"{error}.") from None
    except ValueError as error:
        raise InvalidOption(f"{error}.", option="roi") from None
    inside = np.zeros_like(alpha)
    inside[part] = alpha[part]
    if foreground_box(inside) is None:
        raise RegionEmpty("Nobody was found in this region of the photo.")
    return inside


def _placed(colours: Image, alpha: Alpha8, person: Box, placement: Placement) -> tuple[Image, Alpha8]:
    target = placement.box(person, *alpha.shape)
    cutout = compose_rgba(colours[person.part], alpha[person.part])
    if (target.height, target.width) != (person.height, person.width):
        cutout = resize_cutout(cutout, target.height, target.width)
    whole = np.zeros((*alpha.shape, 4), np.uint8)
    whole[target.part] = cutout
    return np.asarray(cv2.cvtColor(whole, cv2.COLOR_RGBA2RGB), np.uint8), np.ascontiguousarray(whole[..., 3])


def _ground(image: Image, alpha: Alpha8, output: Output, picture: Image | None) -> Image | Ground | None:
    if output.blur:
        return blurred(image, alpha, output.blur)
    if picture is not None:
        return cover(picture, *alpha.shape)
    return output.ground if isinstance(output.ground, Ground) else None


def _laid(colours: Image, alpha: Alpha8, ground: Image | Ground | None, shadow: int) -> Image:
    if shadow:
        colours, alpha = lay_under(colours, alpha, BLACK, cast_shadow(alpha, shadow))
    if isinstance(ground, Ground):
        if ground.alpha == 255:
            return lay_over(colours, alpha, ground.colour)
        colours, alpha = lay_under(colours, alpha, ground.colour, ground.alpha)
        ground = None
    return compose_rgba(colours, alpha) if ground is None else lay_over(colours, alpha, ground)


# Standard deviations of no blur to speak of and of the strongest, as shares of the photo's longer side.
BLUR: Final = (0.003, 0.03)
STRIP: Final = 32  # times as long as wide: of what is longer, the length says nothing of the blur
CELLS: Final = 1.5  # per standard deviation: so far is the photo reduced before it is blurred


def cover(picture: Image, height: int, width: int) -> Image:
    """The middle of `picture`, as much as has the shape of `[height,width]`, at that size."""
    high, wide = picture.shape[:2]
    scale = min(high / height, wide / width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (high - rows) // 2, (wide - columns) // 2
    middle = reduced(picture[top : top + rows, left : left + columns], max(1, int(scale)))
    return np.asarray(cv2.resize(middle, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def blurred(image: Image, alpha: Alpha8, strength: int) -> Image:
    """The photo's background, blurred by `strength` 1..100, without the person: his colours don't glow around him.
    Behind him, as far as he is half transparent, the colours beside him go on."""
    height, width = alpha.shape
    least, most = BLUR
    longer = min(max(height, width), STRIP * min(height, width))
    deviation = (least + (most - least) * strength / 100) * longer
    cell = min(max(1, int(deviation / CELLS)), height, width)

    def window(plane: Plane) -> Plane:
        return np.asarray(cv2.GaussianBlur(plane, (0, 0), deviation / cell), np.float32)

    means = mean_around(reduced(image, cell), OPAQUE - reduced(alpha, cell), window)
    return stretch(np.asarray(cv2.convertScaleAbs(means), np.uint8), height, width)


# As shares of the photo's longer side: standard deviation of its blur, and how far it falls down.
SOFTNESS: Final = 0.02
FALL: Final = 0.015
# Times as long as wide: what is longer is a strip, and its length says nothing of its softness.
SHADOW_STRIP: Final = 32
GRID: Final = 256  # pixels of the longer side at which it is drawn, at the most: it has no detail


def cast_shadow(alpha: Alpha8, strength: int) -> Alpha8:
    """Opacity of the shadow of everything in `alpha`; `strength` 0..100 is its opacity in per cent where it is
    darkest. At the photo's edges it goes on as it is: a person cut off by the frame does not end there."""
    height, width = alpha.shape
    small = reduced(alpha, min(-(-max(height, width) // GRID), height, width))
    longer = min(max(small.shape), SHADOW_STRIP * min(small.shape))
    fallen = cv2.copyMakeBorder(small, round(FALL * longer), 0, 0, 0, cv2.BORDER_REPLICATE)[: small.shape[0]]
    soft = cv2.GaussianBlur(fallen, (0, 0), SOFTNESS * longer, borderType=cv2.BORDER_REPLICATE)
    return stretch(np.asarray(cv2.convertScaleAbs(soft, alpha=strength / 100), np.uint8), height, width)
