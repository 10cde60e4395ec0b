"""Makes the pictures of README and MODEL_CARD by the built-in model, as the service runs it.

    make docs

    portrait.jpg   a portrait, its matte, and the portrait on green
    edge.jpg       a piece of its hair on green: the network's alpha enlarged, and refined
    cutouts.jpg    the cut-out on a chequered ground, on a colour, and before the blurred photo with a shadow

The portrait is NASA's photograph of the astronaut Eileen Collins, in the public domain, from scikit-image.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray

from app import predictor
from app.options import read_output
from app.rendering import render
from app.settings import BUILT_IN_MODEL
from model import matting
from training.data.images import as_grey, on_green

PICTURES = Path(__file__).parent / "pictures"
GAP = 12
EDGE = (slice(20, 180), slice(110, 350))  # rows and columns of the photo
EDGE_ZOOM = 2
CHEQUER = 16  # pixels


def mattes(photo: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Alpha float32 `[H,W]` of the photo, refined as it is served, and only enlarged."""
    model = predictor.load(BUILT_IN_MODEL, device="cpu", precision="auto", max_batch_size=1)
    geometry = model.manifest.geometry
    seen = matting.views(photo, model.input_size, geometry)
    alphas = list(model.predict(np.stack(seen)))
    served = matting.finish(photo, seen, alphas, geometry)
    plain = matting.finish(photo, seen, alphas, geometry, refined=False)
    in_0_to_1 = np.float32(1 / 255)
    return served.alpha * in_0_to_1, plain.alpha * in_0_to_1


def cutouts(photo: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The photo as POST /v1/cutout answers it."""
    wishes: list[dict[str, str]] = [{}, {"background": "lightsteelblue"}, {"blur": "60", "shadow": "40"}]
    rendered = [render(photo, alpha, read_output(wish)).pixels for wish in wishes]
    transparent, *others = rendered
    rows, columns = np.indices(alpha.shape) // CHEQUER
    chequered = np.where((rows + columns) % 2, 204, 255)[..., None]
    share = transparent[..., 3:] / 255
    seen = np.rint(transparent[..., :3] * share + chequered * (1 - share)).astype(np.uint8)
    return [seen, *others]


def side_by_side(path: Path, panels: list[NDArray[np.uint8]]) -> None:
    gap = np.full((panels[0].shape[0], GAP, 3), 255, np.uint8)
    spaced = [each for panel in panels for each in (panel, gap)][:-1]
    cv2.imwrite(str(path), np.hstack(spaced)[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


def main() -> None:
    photo = skimage.data.astronaut()
    served, plain = mattes(photo)
    PICTURES.mkdir(exist_ok=True)
    side_by_side(PICTURES / "portrait.jpg", [photo, as_grey(served), on_green(photo, served)])
    side_by_side(PICTURES / "cutouts.jpg", cutouts(photo, np.rint(served * 255).astype(np.uint8)))
    pieces = [photo[EDGE], on_green(photo, plain)[EDGE], on_green(photo, served)[EDGE]]
    size = (pieces[0].shape[1] * EDGE_ZOOM, pieces[0].shape[0] * EDGE_ZOOM)
    enlarged = [
        np.asarray(cv2.resize(piece, size, interpolation=cv2.INTER_CUBIC), np.uint8) for piece in pieces
    ]
    side_by_side(PICTURES / "edge.jpg", enlarged)


if __name__ == "__main__":
    main()
