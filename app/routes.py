"""HTTP requests come in, the pipeline is asked, HTTP answers go out. Knows no pixels and no queue."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app import openapi
from app.delivery import deliver
from app.errors import NotReady, Unauthorised
from app.metrics import Metrics
from app.options import NAMES, quality_of, read_output
from app.output import MATTE
from app.schemas import Health, Index, ModelItem, ModelList
from app.uploads import read_upload

router = APIRouter()


@router.post(
    "/v1/matte",
    summary="Alpha matte of a portrait",
    response_class=Response,
    responses=openapi.MATTE_RESPONSES,
    openapi_extra=openapi.upload(openapi.MATTE_OPTIONS),
)
async def matte(request: Request) -> Response:
    """Post a photo, get its soft alpha matte as a grey PNG of the same (upright) size."""
    upload = await read_upload(request, ["quality"])
    return await deliver(request, upload.photo, MATTE, quality_of(upload.options))


@router.post(
    "/v1/cutout",
    summary="The person of a portrait, without the background or before another one",
    response_class=Response,
    responses=openapi.CUTOUT_RESPONSES,
    openapi_extra=openapi.upload(openapi.CUTOUT_OPTIONS, files=openapi.BACKGROUND_FILE),
)
async def cutout(request: Request) -> Response:
    """Post a photo, get the person: transparent around, or on a colour, a picture or the blurred photo; cropped, made
    smaller, with a shadow, as PNG, WebP, JPEG or archive."""
    upload = await read_upload(request, [*NAMES, "quality"], files=["background"])
    options = {name: value for name, value in upload.options.items() if name != "quality"}
    output = read_output(options, upload.parts.file("background"))
    return await deliver(request, upload.photo, output, quality_of(upload.options))


@router.get(
    "/v1/models",
    summary="The model in service",
    responses=openapi.problems([Unauthorised, NotReady]),
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


@router.get("/readyz", summary="Would a photo be served now?", responses=openapi.problems([NotReady]))
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
    paths = ("/docs", "/v1/matte", "/v1/cutout", "/v1/models", "/healthz", "/readyz", "/metrics")
    return Index(links={path.rsplit("/", 1)[1]: path for path in paths})
