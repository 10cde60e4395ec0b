"""A photo and its matte come in, the pixels of the answer go out, as an `Output` says. Knows no bytes and no HTTP.

frame     alpha outside the region is 0; cut to the person; made smaller
person    his own colours, his place
ground    shadow, colour, picture or blurred photo under him
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from app.cutout import compose_rgba, lay_over, lay_under, resize_cutout
from app.errors import InvalidRegion, RegionEmpty, RegionOutside
from app.output import Channels, Ground, Output
from app.picture import backdrop
from app.picture.foreground import cut_out, estimate_foreground
from app.picture.framing import Box, Placement, Region, foreground_box, limit_pixels, with_margins
from app.picture.shadow import cast_shadow
from app.picture.strips import Strips
from model.transforms import Alpha8, Image, stretch

BLACK: Final = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Rendered:
    """uint8 `[H,W]` (alpha alone), `[H,W,3]` or `[H,W,4]`, and where the person is in it; None: nobody there."""

    pixels: Image | Strips
    person: Box | None


def render(image: Image, alpha: Alpha8, output: Output, picture: Image | None = None) -> Rendered:
    """Photo uint8 `[H,W,3]`, alpha uint8 `[H,W]`, and the decoded background `picture`, if there is one.

    Raises InvalidRegion, RegionEmpty or RegionOutside.
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
    person = foreground_box(alpha) if output.crop else None
    if output.crop and person:
        part = with_margins(person, output.crop, *alpha.shape).part
        image, alpha = image[part], alpha[part]
    if output.megapixels:
        height, width = limit_pixels(alpha.shape[0], alpha.shape[1], output.megapixels)
        if (height, width) != alpha.shape:
            image, alpha = stretch(image, height, width), stretch(alpha, height, width)
    return np.ascontiguousarray(image), np.ascontiguousarray(alpha)


def _within(alpha: Alpha8, region: Region) -> Alpha8:
    try:
        part = region.box(*alpha.shape).part
    except IndexError as error:
        raise RegionOutside(f"{error}.") from None
    except ValueError as error:
        raise InvalidRegion(f"{error}.") from None
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
        return backdrop.blurred(image, alpha, output.blur)
    if picture is not None:
        return backdrop.cover(picture, *alpha.shape)
    return output.background if isinstance(output.background, Ground) else None


def _laid(colours: Image, alpha: Alpha8, ground: Image | Ground | None, shadow: int) -> Image:
    if shadow:
        colours, alpha = lay_under(colours, alpha, BLACK, cast_shadow(alpha, shadow))
    if isinstance(ground, Ground):
        if ground.alpha == 255:
            return lay_over(colours, alpha, ground.colour)
        colours, alpha = lay_under(colours, alpha, ground.colour, ground.alpha)
        ground = None
    return compose_rgba(colours, alpha) if ground is None else lay_over(colours, alpha, ground)
