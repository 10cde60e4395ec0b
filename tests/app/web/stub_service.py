"""A stand-in for the service, for tests of the page: `/` and `/docs` as they are, POST /v1/cutout and GET /v1/models
without a model.

What it answers hangs on the name of the uploaded file, so that a test says by names what is to happen.
"""

from __future__ import annotations

import asyncio
import io
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import PIL.Image
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import FormData, UploadFile

from app.api import web
from app.imaging.decode import decode_image

KEY = "open-sesame"
MAX_UPLOAD_BYTES = 3_000_000
# File name's beginning to status, title and detail.
REFUSALS = {
    "broken": (400, "Failed to read image", "The JPEG file is truncated or damaged."),
    "late": (504, "Deadline passed", "The request took longer than 60000 ms."),
}
PORTRAIT = {"name": "portrait", "version": "3", "role": "default"}
_KINDS = {"png": "PNG", "webp": "WEBP", "jpg": "JPEG"}


@dataclass
class StandIn:
    """What was asked of it, and what it shall do. Changed by tests in their own thread."""

    address: str = ""
    locked: bool = False
    models: list[dict[str, str]] | None = field(default_factory=lambda: [PORTRAIT])
    """As GET /v1/models tells them, of each what the page reads; None: it answers 503."""
    asked: list[dict[str, str]] = field(default_factory=list)
    most_at_once: int = 0
    tries: Counter[str] = field(default_factory=Counter)
    gate: threading.Event = field(default_factory=threading.Event)
    _inside: int = 0

    def reset(self) -> None:
        self.locked = False
        self.models = [PORTRAIT]
        self.asked.clear()
        self.most_at_once = 0
        self.tries.clear()
        self.gate.set()

    def tell_models(self, request: Request) -> Response:
        if self.shut(request):
            return unauthorised()
        if self.models is None:
            return problem(503, "Not ready", "The model is still loading.")
        return JSONResponse({"models": self.models})

    def shut(self, request: Request) -> bool:
        return self.locked and request.headers.get("x-api-key") != KEY

    def offers(self, model: str) -> bool:
        choosable = [each for each in self.models or [] if each["role"] != "shadow"]
        return model in ("", *(f"{each['name']}@{each['version']}" for each in choosable))

    async def answer(self, request: Request) -> Response:
        if self.shut(request):
            return unauthorised()
        self._inside += 1
        self.most_at_once = max(self.most_at_once, self._inside)
        try:
            async with request.form() as form:
                return await self._answer(form)
        finally:
            self._inside -= 1

    async def _answer(self, form: FormData) -> Response:
        upload = form["image"]
        assert isinstance(upload, UploadFile)
        name = str(upload.filename)
        options = {k: v if isinstance(v, str) else "a file" for k, v in form.items() if k != "image"}
        self.asked.append({"name": name, **options})
        self.tries[name] += 1
        while name.startswith("slow") and not self.gate.is_set():
            await asyncio.sleep(0.01)
        if name.startswith("busy") and self.tries[name] == 1:
            return problem(429, "Too many requests", "All 64 request slots are in use.", retry_after=0)
        refusal = next((REFUSALS[start] for start in REFUSALS if name.startswith(start)), None)
        if refusal is not None:
            return problem(*refusal)
        if not self.offers(options.get("model", "")):
            return problem(404, "Unknown model", f"No model {options['model']!r} is in service.")
        return picture(await upload.read(), name, options)

    async def matte(self, request: Request) -> Response:
        async with request.form() as form:
            upload = form["image"]
            assert isinstance(upload, UploadFile)
            return matte(await upload.read())


def unauthorised() -> Response:
    return problem(401, "API key missing or wrong", "Send one of the service's keys as X-Api-Key.")


def problem(status: int, title: str, detail: str, *, retry_after: int | None = None) -> Response:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    code = title.lower().replace(" ", "_")
    error = {"title": title, "code": code, "detail": detail}
    return JSONResponse({"errors": [error], "request_id": "0"}, status, headers)


def picture(photo: bytes, name: str, options: dict[str, str]) -> Response:
    """The photo with an ellipse in its middle as alpha, in the format that was asked for. The ellipse of a model that
    was asked for by name is a smaller one. Of two people the second is in the upper left corner."""
    image = PIL.Image.fromarray(decode_image(photo, max_pixels=10_000_000))
    y, x = np.mgrid[-1 : 1 : image.height * 1j, -1 : 1 : image.width * 1j]
    radius = 0.4 if "model" in options else 0.7
    alpha = np.clip((radius - np.hypot(x, y)) * 10, 0, 1)
    several = name.startswith("two")
    if several and options.get("subject") != "main":
        alpha = np.maximum(alpha, np.clip((0.2 - np.hypot(x + 0.8, y + 0.8)) * 10, 0, 1))
    nobody = name.startswith("nobody")
    image.putalpha(PIL.Image.fromarray((alpha * (0 if nobody else 255)).astype(np.uint8)))
    kind = options.get("format", "png")
    if (
        options.get("background") == "a file"
    ):  # Only the page's own use of it: the photo behind its own cut-out.
        image.putalpha(255)
    buffer = io.BytesIO()
    (image.convert("RGB") if kind == "jpg" else image).save(buffer, _KINDS[kind])
    headers = {
        "X-Foreground": "none" if nobody else "person",
        "X-Subjects": "0" if nobody else "2" if several else "1",
        "X-Matte-Confidence": "0.871" if name.startswith("doubtful") else "0.983",
    }
    return Response(buffer.getvalue(), media_type=f"image/{kind}", headers=headers)


def matte(photo: bytes) -> Response:
    """All of the photo is kept."""
    buffer = io.BytesIO()
    PIL.Image.new("L", PIL.Image.open(io.BytesIO(photo)).size, 255).save(buffer, "PNG")
    return Response(buffer.getvalue(), media_type="image/png")


def stand_in_app(service: StandIn) -> FastAPI:
    app = FastAPI(title="u2matte", docs_url=None, redoc_url=None)
    app.state.settings = SimpleNamespace(max_upload_bytes=MAX_UPLOAD_BYTES)
    app.include_router(web.page_router)
    app.include_router(web.docs_router)

    @app.post("/v1/cutout", summary="Cut-out of a portrait")
    async def cutout(request: Request) -> Response:
        return await service.answer(request)

    @app.post("/v1/matte", include_in_schema=False)
    async def matte(request: Request) -> Response:
        return await service.matte(request)

    @app.get("/v1/models", include_in_schema=False)
    async def models(request: Request) -> Response:
        return service.tell_models(request)

    return app


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """The stand-in, listening on a free port of this machine."""
    service = StandIn()
    service.reset()
    # It listens before the server runs: whoever connects meanwhile waits in the socket's own queue.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        service.address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(stand_in_app(service), lifespan="off", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield service
        finally:
            service.gate.set()
            server.should_exit = True
            thread.join()
