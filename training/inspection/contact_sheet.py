"""Pairs of every split on one picture, for a person to see whether masks belong to photos and where they are bad.

In: a data set as `training.data.dataset` knows them. Out: RGB uint8 `[H,SHEET_WIDTH,3]`, or a PNG file. Each pair is
its photo, the photo on green through its mask, its trimap where there is one, and its stem.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Pair, Split
from training.data.images import ImageError, on_green, read_image
from training.data.masks import read_alpha, read_trimap
from training.inspection.inspect import find_splits

Pixels = NDArray[np.uint8]
Scalar = TypeVar("Scalar", np.uint8, np.float32)

# Pixels.
SHEET_WIDTH: Final = 1600
PANEL_HEIGHT: Final = 200
PANEL_WIDTH_MAX: Final = 400
GAP: Final = 14
CAPTION_HEIGHT: Final = 22
HEADING_HEIGHT: Final = 52

GROUND: Final = 250
INK: Final = (40, 40, 40)
FONT: Final = cv2.FONT_HERSHEY_SIMPLEX


def write_contact_sheet(root: Path, path: Path, count: int = 48) -> None:
    """`contact_sheet` as a PNG file at `path`, whatever its suffix. Raises DatasetError or OSError."""
    _, png = cv2.imencode(".png", contact_sheet(root, count)[:, :, ::-1])
    path.write_bytes(png.tobytes())


def contact_sheet(root: Path, count: int = 48) -> Pixels:
    """About `count` pairs, evenly spaced over each split and equally many of each; files that cannot be read are left
    out. Raises DatasetError if there is no split with a pair."""
    splits, _ = find_splits(root)
    blocks: list[Pixels] = []
    for split in splits:
        cells = list(_cells(split, -(-count // len(splits))))
        blocks += [_heading(f"{split.name}: {len(cells)} of {len(split.pairs)} pairs"), *_rows(cells)]
    return np.asarray(np.vstack(blocks), np.uint8)


def _cells(split: Split, count: int) -> Iterator[Pixels]:
    last = len(split.pairs) - 1
    for i in sorted({round(place) for place in np.linspace(0, last, count).tolist()}):
        try:
            yield _cell(split.pairs[i])
        except ImageError:
            continue  # the inspection names it


def _cell(pair: Pair) -> Pixels:
    """uint8 `[PANEL_HEIGHT+CAPTION_HEIGHT,W,3]`. A mask of another size is stretched to the photo:
    that it does not fit is seen then. Raises ImageError."""
    image = _shrink(read_image(pair.image))
    height, width = image.shape[:2]
    panels = [image, on_green(image, _resize(read_alpha(pair.alpha), width, height))]
    if pair.trimap:
        panels.append(np.repeat(_resize(read_trimap(pair.trimap), width, height)[:, :, None], 3, axis=2))
    row = np.hstack(panels)
    cell = _ground(PANEL_HEIGHT + CAPTION_HEIGHT, row.shape[1])
    cell[:height] = row
    _write(cell, _fitting(pair.stem, row.shape[1]), 7, 0.45)
    return cell


def _shrink(image: Pixels) -> Pixels:
    height, width = image.shape[:2]
    scale = min(PANEL_HEIGHT / height, PANEL_WIDTH_MAX / width)
    return np.asarray(_resize(image, max(1, round(width * scale)), max(1, round(height * scale))), np.uint8)


def _resize(pixels: NDArray[Scalar], width: int, height: int) -> NDArray[Scalar]:
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), pixels.dtype)


def _rows(cells: Sequence[Pixels]) -> Iterator[Pixels]:
    """The cells in lines, as words in a paragraph."""
    line: list[Pixels] = []
    for cell in cells:
        if line and sum(each.shape[1] + GAP for each in [*line, cell]) + GAP > SHEET_WIDTH:
            yield _row(line)
            line = []
        line.append(cell)
    if line:
        yield _row(line)


def _row(cells: Sequence[Pixels]) -> Pixels:
    row = _ground(PANEL_HEIGHT + CAPTION_HEIGHT + GAP, SHEET_WIDTH)
    left = GAP
    for cell in cells:
        height, width = cell.shape[:2]
        row[:height, left : left + width] = cell
        left += width + GAP
    return row


def _heading(text: str) -> Pixels:
    heading = _ground(HEADING_HEIGHT, SHEET_WIDTH)
    _write(heading, text, 14, 0.8, left=GAP)
    return heading


def _ground(height: int, width: int) -> Pixels:
    return np.full((height, width, 3), GROUND, np.uint8)


def _fitting(text: str, width: int) -> str:
    letters = width // 9
    return text if len(text) <= letters else text[: max(0, letters - 2)] + ".."


def _write(picture: Pixels, text: str, above: int, scale: float, left: int = 0) -> None:
    """Write `text`, `above` pixels over the bottom edge; OpenCV's font has ASCII only."""
    ascii_only = text.encode("ascii", "replace").decode()
    place = (left, picture.shape[0] - above)
    cv2.putText(picture, ascii_only, place, FONT, scale, INK, 1, cv2.LINE_AA)
