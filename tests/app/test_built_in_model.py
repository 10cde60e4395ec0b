"""The built-in model on a well-known portrait, through the whole service."""

from __future__ import annotations

import cv2
import httpx
import numpy as np
import skimage.data

from app.main import create_app
from app.settings import Settings
from tests.support.images import pixels


async def test_astronaut_is_cut_out() -> None:
    photo = skimage.data.astronaut()
    done, data = cv2.imencode(".jpg", photo[..., ::-1])
    assert done
    app = create_app(Settings(max_batch_size=1))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        await app.state.loading
        answer = await client.post("/v1/matte", files={"image": data.tobytes()})
    matte = pixels(answer.content).astype(np.float32) / 255
    assert matte.shape == photo.shape[:2]
    # The face is surely foreground and the flag behind her surely not; what lies between is the evaluation's affair.
    assert matte[60:200, 170:280].mean() > 0.9
    assert matte[:100, :60].mean() < 0.1
