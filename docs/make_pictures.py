"""Makes README's picture: a portrait, its matte, and the portrait on green, by the built-in model as it is served.

    make docs

The portrait is NASA's photograph of the astronaut Eileen Collins, in the public domain, from scikit-image.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import cv2
import numpy as np
import skimage.data

from app.main import model_loader
from app.metrics import Metrics
from app.pipeline import Output, Pipeline
from app.settings import Settings

PICTURES = Path(__file__).parent / "pictures"
GREEN = (0, 177, 64)
GAP = 12


async def matte(data: bytes) -> np.ndarray:
    """The alpha of an encoded photo, uint8 `[H,W]`, by the service's own pipeline."""
    settings = Settings(max_batch_size=1)
    pipeline = Pipeline(settings, Metrics())
    try:
        await pipeline.start(model_loader(settings))
        result = await pipeline.run(data, Output.MATTE)
    finally:
        await pipeline.close()
    return cv2.imdecode(np.frombuffer(result.png, np.uint8), cv2.IMREAD_UNCHANGED)


def main() -> None:
    photo = cv2.cvtColor(skimage.data.astronaut(), cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".png", photo)
    alpha = asyncio.run(matte(encoded.tobytes()))
    share = alpha[:, :, None] / 255
    on_green = photo * share + np.array(GREEN[::-1]) * (1 - share)
    gap = np.full((photo.shape[0], GAP, 3), 255, np.uint8)
    panels = [photo, gap, cv2.cvtColor(alpha, cv2.COLOR_GRAY2BGR), gap, np.rint(on_green).astype(np.uint8)]
    PICTURES.mkdir(exist_ok=True)
    cv2.imwrite(str(PICTURES / "portrait.jpg"), np.hstack(panels), [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
