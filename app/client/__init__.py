"""The Python client: a photo comes in, a matte or cut-out from a running service goes out.

    from app.client import Client

    with Client("http://127.0.0.1:8000") as service:
        answer = service.cutout("photo.jpg", background="white", format="jpg")
        Path("cutout.jpg").write_bytes(answer.data)

`AsyncClient` has the same methods to await. Everything but the sending is written once, as functions of values:

    photos     a path, bytes, an open file, an array or a Pillow picture -> a file's bytes
    requests   photo and options -> the request
    retry      a failed attempt -> how long to wait before the next one, or that there is none
    responses  the response -> `Answer`, `Model`
    errors     a response that is an error, or none at all -> `CallError`
    client     the two clients, and the loop over attempts

Needs httpx alone: it knows neither the service's code nor a model. `answer.image` needs Pillow, `answer.array` NumPy
and Pillow; both are imported when they are asked for.
"""

from __future__ import annotations

from app.client.client import AsyncClient, Client
from app.client.errors import Busy, CallError, Disconnected, Refused, TimedOut, Unexpected
from app.client.photos import Pixels
from app.client.requests import Color, CutoutOptions, Format, MatteOptions, Quality, Source, Subject
from app.client.responses import Answer, Box, Model
from app.client.retry import OnRetry, RetryPolicy

__all__ = [
    "Answer",
    "AsyncClient",
    "Box",
    "Busy",
    "CallError",
    "Client",
    "Color",
    "CutoutOptions",
    "Disconnected",
    "Format",
    "MatteOptions",
    "Model",
    "OnRetry",
    "Pixels",
    "Quality",
    "Refused",
    "RetryPolicy",
    "Source",
    "Subject",
    "TimedOut",
    "Unexpected",
]
