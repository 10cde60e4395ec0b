"""Makes the pictures of README and MODEL_CARD by the built-in model.

    make docs

    portrait.jpg   a portrait, its matte, and the portrait on green
    cutouts.jpg    the cut-out on a chequered ground, on a colour, and before the blurred photo with a shadow
    edge.jpg       a piece of its hair on green: the network's alpha enlarged, and refined

The first two are what a running service answers. The portrait is NASA's photograph of the astronaut Eileen Collins,
in the public domain, from scikit-image. A test fails when the pictures are not the built-in model's.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import httpx
import numpy as np
import skimage.data
from numpy.typing import NDArray

from app.inference import predictor
from app.settings import BUILT_IN_MODEL
from model import matting
from tests.support.servers import serving
from training.data.images import as_grey, on_green

Picture = NDArray[np.uint8]

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
GAP = 12
EDGE = (slice(20, 180), slice(110, 350))  # rows and columns of the photo
EDGE_ZOOM = 2
CHEQUER = 16  # pixels
JPEG_QUALITY = 88


def pictures(photo: Picture, address: str) -> dict[str, Picture]:
    """Each picture by its file's name, RGB `[H,W,3]`; the service at `address` has the built-in model."""
    matte, cutouts = answered(photo, address)
    alpha = matte / np.float32(255)
    pieces = [photo[EDGE], *(on_green(photo, each)[EDGE] for each in edges(photo))]
    size = (pieces[0].shape[1] * EDGE_ZOOM, pieces[0].shape[0] * EDGE_ZOOM)
    enlarged = [
        np.asarray(cv2.resize(piece, size, interpolation=cv2.INTER_CUBIC), np.uint8) for piece in pieces
    ]
    return {
        "portrait.jpg": side_by_side([photo, as_grey(alpha), on_green(photo, alpha)]),
        "cutouts.jpg": side_by_side(cutouts),
        "edge.jpg": side_by_side(enlarged),
    }


def answered(photo: Picture, address: str) -> tuple[Picture, list[Picture]]:
    """The photo's matte `[H,W]` and three cut-outs RGB `[H,W,3]`."""
    file = cv2.imencode(".png", photo[..., ::-1])[1].tobytes()
    with httpx.Client(base_url=address, timeout=60) as service:

        def ask(path: str, **options: str) -> Picture:
            answer = service.post(path, files={"image": file}, data=options).raise_for_status()
            read = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
            return np.asarray(read, np.uint8)

        matte = ask("/v1/matte")
        transparent = cv2.cvtColor(ask("/v1/cutout"), cv2.COLOR_BGRA2RGBA)
        blue = ask("/v1/cutout", background="lightsteelblue")
        blurred = ask("/v1/cutout", blur="60", shadow="40")
    return matte, [on_chequers(transparent), blue[..., ::-1], blurred[..., ::-1]]


def on_chequers(cutout: Picture) -> Picture:
    """RGBA `[H,W,4]` on the ground that stands for transparency, RGB `[H,W,3]`."""
    rows, columns = np.indices(cutout.shape[:2]) // CHEQUER
    ground = np.where((rows + columns) % 2, 204, 255)[..., None]
    share = cutout[..., 3:] / 255
    return np.rint(cutout[..., :3] * share + ground * (1 - share)).astype(np.uint8)


def edges(photo: Picture) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Alpha float32 `[H,W]` of the photo in 0..1, only enlarged, and refined as it is served."""
    model = predictor.load(BUILT_IN_MODEL, device="cpu", precision="auto", max_batch_size=1)
    geometry = model.manifest.geometry
    seen = matting.views(photo, model.input_size, geometry)
    alphas = list(model.predict(np.stack(seen)))
    plain = matting.finish(photo, seen, alphas, geometry, refined=False)
    refined = matting.finish(photo, seen, alphas, geometry)
    in_0_to_1 = np.float32(1 / 255)
    return plain.alpha * in_0_to_1, refined.alpha * in_0_to_1


def side_by_side(panels: list[Picture]) -> Picture:
    gap = np.full((panels[0].shape[0], GAP, 3), 255, np.uint8)
    return np.hstack([each for panel in panels for each in (panel, gap)][:-1])


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with serving(BUILT_IN_MODEL) as (_, address):
        made = pictures(skimage.data.astronaut(), address)
    for name, picture in made.items():
        cv2.imwrite(str(PICTURES / name), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


if __name__ == "__main__":
    main()
