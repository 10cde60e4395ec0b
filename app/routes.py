"""HTTP requests come in, the pipeline is asked, HTTP answers go out. Knows no pixels and no queue."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app import openapi, request_schemas
from app.delivery import deliver
from app.errors import NotReady, Unauthorised
from app.metrics import Metrics
from app.option_schemas import BACKGROUND_FILE, CUTOUT_OPTIONS, MATTE_OPTIONS
from app.options import HOW, NAMES, read_how, read_output
from app.output import MATTE
from app.paths import PREFIX
from app.predictor import Predictor
from app.schemas import Health, Index, ModelItem, ModelList
from app.serving.models import Models, Role
from app.uploads import read_upload

router = APIRouter()


@router.post(
    "/v1/matte",
    summary="Alpha matte of a portrait",
    response_class=Response,
    responses=openapi.MATTE_RESPONSES,
    openapi_extra=request_schemas.upload(MATTE_OPTIONS),
)
async def matte(request: Request) -> Response:
    """Post a photo, get its soft alpha matte as a grey PNG of the same (upright) size."""
    upload = await read_upload(request, HOW)
    read_how(upload.query)  # What the form overrules has to be right, too.
    return await deliver(request, upload.photo, MATTE, read_how(upload.options))


@router.post(
    "/v1/cutout",
    summary="The person of a portrait, without the background or before another one",
    response_class=Response,
    responses=openapi.CUTOUT_RESPONSES,
    openapi_extra=request_schemas.upload(
        CUTOUT_OPTIONS, files=BACKGROUND_FILE, excluding=("background", "blur")
    ),
)
async def cutout(request: Request) -> Response:
    """Post a photo, get the person: transparent around, or on a colour, a picture or the blurred photo; cropped, made
    smaller, with a shadow, as PNG, WebP, JPEG or archive."""
    upload = await read_upload(request, [*NAMES, *HOW], files=["background"])
    read_output(upload.query)
    read_how(upload.query)
    output = read_output(upload.options, upload.parts.file("background"))
    return await deliver(request, upload.photo, output, read_how(upload.options))


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
    models: Models = request.app.state.pipeline.models
    return ModelList(models=[_item(served.predictor, role) for served, role in models.all()])


def _item(predictor: Predictor, role: Role) -> ModelItem:
    manifest = predictor.manifest
    return ModelItem(
        name=manifest.name,
        version=manifest.version,
        role=role,
        device=predictor.device,
        runtime=predictor.runtime,
        precision=predictor.precision,
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
    """The text exposition format, for a Prometheus server to scrape."""
    collectors: Metrics = request.app.state.metrics
    return Response(generate_latest(collectors.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/", summary="Where to go from here")
async def index(request: Request) -> Index:
    """Links to everything else."""
    paths = ("/docs", "/v1/matte", "/v1/cutout", "/v1/models", "/healthz", "/readyz", "/metrics")
    prefix = request.scope.get(PREFIX, "")
    return Index(links={path.rsplit("/", 1)[1]: prefix + path for path in paths})
