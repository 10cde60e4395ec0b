"""HTTP requests come in, the pipeline is asked, HTTP answers go out. Knows no pixels and no queue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.errors import ClientGone
from app.metrics import Metrics
from app.pipeline import Pipeline
from app.recipe import Output, Result, Timings
from app.schemas import ErrorBody, Health, Index, ModelItem, ModelList
from app.uploads import FIELD, FORM, QUALITY, quality_of, read_upload
from model.matting import Quality

T = TypeVar("T")

_BINARY: Final = {"type": "string", "format": "binary"}
_QUALITY: Final = {
    "type": "string",
    "enum": list(Quality),
    "default": Quality.STANDARD,
    "description": "`high` runs the network on the photo and on its mirror image and takes the mean: "
    "a little better, at twice the network's cost.",
}
_UPLOAD_SCHEMA: Final = {
    "parameters": [{"name": QUALITY, "in": "query", "required": False, "schema": _QUALITY}],
    "requestBody": {
        "required": True,
        "description": "The photo as form field `image`, or as the body itself with its own content type.",
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: _BINARY, QUALITY: _QUALITY},
                }
            },
            "image/jpeg": {"schema": _BINARY},
            "image/png": {"schema": _BINARY},
            "image/webp": {"schema": _BINARY},
        },
    },
}
_MATTE_PROBLEMS: Final = {
    400: "No image, or one that is unreadable or truncated (`missing_source`, `failed_to_read_image`)",
    401: "Keys are set and none or a wrong one was sent (`auth_failed`)",
    408: "The body came too slowly (`body_too_slow`)",
    413: "Too many bytes, or too many pixels by the header (`file_too_large`, `resolution_too_high`)",
    415: "Not a JPEG, PNG or WebP file (`invalid_file_type`)",
    422: "An option or a value of it that does not exist (`unknown_option`, `invalid_quality`)",
    429: "The queue is full; Retry-After says when to come back (`rate_limit_exceeded`)",
    503: "Loading, shutting down, or the device loop has ended (`not_ready`)",
    504: "The deadline passed (`deadline_passed`)",
}
_MATTE_HEADERS: Final = {
    "X-Request-Id": "Your own X-Request-Id if you sent a plain one, else a new one",
    "X-Model": "name@version of the model",
    "X-Width": "Width of the matte in pixels",
    "X-Height": "Height of the matte in pixels",
    "X-Foreground": "`person`, or `none` where nobody was found: then the matte is all but empty",
    "X-Matte-Confidence": "0 to 1: the mIoU to expect of this matte, from the network's own alpha",
    "Server-Timing": "Milliseconds for decode, queue, infer, refine and encode",
}

router = APIRouter()


def _problems(table: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorBody, "description": text} for status, text in table.items()}


_MATTE_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The matte: 8-bit grey PNG of the upright photo's size, 0 is background.",
        "content": {"image/png": {"schema": _BINARY}},
        "headers": {k: {"description": v, "schema": {"type": "string"}} for k, v in _MATTE_HEADERS.items()},
    },
    **_problems(_MATTE_PROBLEMS),
}


@router.post(
    "/v1/matte",
    summary="Alpha matte of a portrait",
    response_class=Response,
    responses=_MATTE_RESPONSES,
    openapi_extra=_UPLOAD_SCHEMA,
)
async def matte(request: Request) -> Response:
    """Post a photo, get its soft alpha matte as a grey PNG of the same (upright) size."""
    pipeline: Pipeline = request.app.state.pipeline
    data, options = await read_upload(request)
    work = pipeline.run(data, Output.MATTE, quality_of(options))
    result = await _unless_disconnected(request, work)
    headers = {"X-Model": pipeline.predictor.manifest.label, **result_headers(result)}
    return Response(result.png, media_type="image/png", headers=headers)


@router.get(
    "/v1/models",
    summary="The model in service",
    responses=_problems({401: _MATTE_PROBLEMS[401], 503: "Still loading (`not_ready`)"}),
)
async def models(request: Request) -> ModelList:
    """What is served: name, version, where it runs, how it was measured, under which licence."""
    predictor = request.app.state.pipeline.predictor
    manifest = predictor.manifest
    item = ModelItem(
        name=manifest.name,
        version=manifest.version,
        device=predictor.device,
        precision=predictor.precision,
        input_size=manifest.input_size,
        sha256=manifest.sha256,
        metrics=manifest.metrics,
        licence=manifest.licence,
        architecture=manifest.architecture,
        parameters=manifest.parameters,
    )
    return ModelList(models=[item])


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> Health:
    """200 for as long as the process can answer at all."""
    return Health(status="ok")


@router.get("/readyz", summary="Would a photo be served now?", responses=_problems({503: "No (`not_ready`)"}))
async def readyz(request: Request) -> Health:
    """200 once every batch size is warm; 503 while loading, draining, or when the device loop is dead."""
    request.app.state.pipeline.check_ready()
    return Health(status="ready")


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """The text exposition format, for a Prometheus server to scrape."""
    collectors: Metrics = request.app.state.metrics
    return Response(generate_latest(collectors.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/", summary="Where to go from here")
async def index() -> Index:
    """Links to everything else."""
    paths = ("/docs", "/v1/matte", "/v1/models", "/healthz", "/readyz", "/metrics")
    return Index(links={path.rsplit("/", 1)[1]: path for path in paths})


def result_headers(result: Result) -> dict[str, str]:
    """What a client may want to know of a picture without decoding it."""
    return {
        "X-Width": str(result.width),
        "X-Height": str(result.height),
        "X-Foreground": result.found,
        "X-Matte-Confidence": f"{result.confidence:.3f}",
        "Server-Timing": server_timing(result.timings),
    }


def server_timing(timings: Timings) -> str:
    """The Server-Timing header, in milliseconds."""
    stages = (
        ("decode", timings.decode_s),
        ("queue", timings.queue_s),
        ("infer", timings.infer_s),
        ("refine", timings.refine_s),
        ("encode", timings.encode_s),
    )
    return ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in stages)


async def _unless_disconnected(request: Request, work: Awaitable[T]) -> T:
    """Await `work`; if the client leaves meanwhile, cancel it, so that nothing is computed for nobody."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone("The client left before its matte was done.")
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
