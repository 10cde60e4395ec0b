"""The routes that take photos: upload -> options -> pipeline -> response with its headers. Knows no pixels."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import TypeVar

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.api import openapi
from app.api.uploads import read_upload
from app.errors import ClientGone, MultipleBackgrounds, NotReady, Unauthorised
from app.imaging.output import Channels, Output
from app.inference.registry import ModelRegistry, Role
from app.inference.remote.front_end import InferenceProcesses
from app.inference.servable import LoadedModel
from app.middleware.auth import CLIENT
from app.middleware.paths import PREFIX
from app.observability.metrics import Metrics
from app.options import ONE_BACKGROUND, CutoutOptions, MatteOptions
from app.pipeline import Pipeline, Result
from app.schemas import Health, Index, ModelItem, ModelList

router = APIRouter()


@router.post(
    "/v1/matte",
    summary="Alpha matte of a portrait",
    response_class=Response,
    responses=openapi.MATTE_RESPONSES,
    openapi_extra=openapi.upload(MatteOptions),
)
async def matte(request: Request) -> Response:
    """Post a photo, get its soft alpha matte as a grey PNG of the same (upright) size."""
    upload = await read_upload(request, MatteOptions.model_fields)
    MatteOptions.model_validate(upload.query)  # What the form overrules has to be right, too.
    output = Output.model_validate({**upload.options, "channels": Channels.ALPHA})
    return await deliver(request, upload.photo, output)


@router.post(
    "/v1/cutout",
    summary="The person of a portrait, without the background or before another one",
    response_class=Response,
    responses=openapi.CUTOUT_RESPONSES,
    openapi_extra=openapi.upload(CutoutOptions, files=("background",), excluding=("background", "blur")),
)
async def cutout(request: Request) -> Response:
    """Post a photo, get the person: transparent around, or on a colour, a picture or the blurred photo; cropped, made
    smaller, with a shadow, as PNG, WebP, AVIF, JPEG or archive."""
    upload = await read_upload(request, CutoutOptions.model_fields, files=["background"])
    CutoutOptions.model_validate(upload.query)
    return await deliver(request, upload.photo, read_output(upload.options, upload.parts.file("background")))


def read_output(options: Mapping[str, str], picture: bytes | None = None) -> Output:
    """From the options by name and the background's file. Raises InvalidOption or MultipleBackgrounds."""
    output = Output.model_validate(options)
    if picture is None:
        return output
    if output.background is not None:
        raise MultipleBackgrounds(ONE_BACKGROUND)
    return Output.model_validate({**options, "background": picture})


@router.get(
    "/v1/models",
    summary="The models in service",
    responses=openapi.problems([Unauthorised, NotReady]),
)
async def models(request: Request) -> ModelList:
    """Each with name, version and role, where it runs, how it was measured, and under which licence.

    The `default` one answers those that name none; those `kept` can be asked for by `model`; a `shadow` only sees a
    share of the photos, to be compared.
    """
    models: ModelRegistry = request.app.state.pipeline.models
    return ModelList(models=[_item(served.model, role) for served, role in models.all()])


def _item(model: LoadedModel, role: Role) -> ModelItem:
    manifest = model.manifest
    return ModelItem(
        name=manifest.name,
        version=manifest.version,
        role=role,
        device=model.device,
        runtime=model.runtime,
        precision=model.precision,
        input_size=manifest.input_size,
        sha256=manifest.sha256,
        metrics=manifest.metrics,
        licence=manifest.licence,
        architecture=manifest.architecture,
        parameters=manifest.parameters,
    )


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> Health:
    """200 for as long as the process can answer at all."""
    return Health(status="ok")


@router.get("/readyz", summary="Would a photo be served now?", responses=openapi.problems([NotReady]))
async def readyz(request: Request) -> Health:
    """200 once every batch size is warm; 503 while loading, draining, stuck, or when the device loop is dead."""
    request.app.state.pipeline.check_ready()
    return Health(status="ready")


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """The text exposition format, for a Prometheus server to scrape. Any of several workers answers for all, with
    their numbers as label `worker`; at a port of its own it answers for itself."""
    state = request.app.state
    collectors: Metrics = state.metrics
    inference: InferenceProcesses | None = state.inference
    page = generate_latest(collectors.registry)
    if inference and (request.scope.get("server") or (None, None))[1] != state.own_port:
        page = await inference.joined_page(page)
    return Response(page, media_type=CONTENT_TYPE_LATEST)


@router.get("/", summary="Where to go from here")
async def index(request: Request) -> Index:
    """Links to everything else."""
    paths = ("/docs", "/v1/matte", "/v1/cutout", "/v1/models", "/healthz", "/readyz", "/metrics")
    prefix = request.scope.get(PREFIX, "")
    return Index(links={path.rsplit("/", 1)[1]: prefix + path for path in paths})


T = TypeVar("T")


async def ask(request: Request, photo: bytes, output: Output) -> Result:
    """What came of the photo. Raises ServiceErrors, ClientGone as soon as the client has left."""
    pipeline: Pipeline = request.app.state.pipeline
    return await unless_disconnected(
        request, pipeline.run(photo, output, client=request.scope.get(CLIENT, ""))
    )


async def deliver(request: Request, photo: bytes, output: Output) -> Response:
    """`ask`, as the file itself."""
    result = await ask(request, photo, output)
    return Response(result.finished.data, media_type=result.finished.media_type, headers=headers_of(result))


def headers_of(result: Result) -> dict[str, str]:
    """What a client may want to know of a picture without decoding it."""
    finished = result.finished
    headers = {
        "X-Model": result.model,
        "X-Width": str(finished.width),
        "X-Height": str(finished.height),
        "X-Foreground": finished.found,
        "X-Subjects": str(finished.subjects),
        "X-Matte-Confidence": f"{finished.confidence:.3f}",
        "Server-Timing": server_timing(result.seconds),
    }
    if finished.frames > 1:
        headers["X-Frames"] = str(finished.frames)
    if finished.person:
        box = finished.person
        sides = {"Top": box.top, "Left": box.left, "Width": box.width, "Height": box.height}
        headers |= {f"X-Foreground-{name}": str(pixels) for name, pixels in sides.items()}
    return headers


def server_timing(seconds: Mapping[str, float]) -> str:
    """The Server-Timing header, in milliseconds."""
    return ", ".join(f"{stage};dur={duration * 1000:.1f}" for stage, duration in seconds.items())


async def unless_disconnected(request: Request, work: Awaitable[T]) -> T:
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
