"""Requests for the page, the documentation and their files come in; those files go out, under strict headers.

    page_router   `/` for browsers, and what it loads from `/page/`
    docs_router   `/docs`, and what it loads from `/docs/`: Swagger UI, of which nothing comes from elsewhere; and
                  what it shows, `/openapi.json`

All addresses inside the files are relative, so that the service may be published below any path of a proxy.
Of the settings only the upload limit is told to the page. Knows no picture and no pipeline.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse

from app.api.routes import index
from app.middleware.paths import PREFIX, UNSLASHED
from app.middleware.response_headers import STRICT

PAGE_DIR: Final = Path(__file__).parent.parent / "web"
SWAGGER_PACKAGE: Final = "fastapi_offline"
SWAGGER_FILES: Final = ("swagger-ui-bundle.js", "swagger-ui.css")

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
# Swagger UI sets styles and images of its own making; its scripts are files all the same.
_DOCS_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = {
    # Kept by the browser, and asked for by its ETag each time: a new version shows at once.
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    **STRICT,
}
_LIMIT: Final = b"MAX_UPLOAD_BYTES"

page_router = APIRouter(include_in_schema=False)
docs_router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent, with its media type and its entity tag."""

    body: bytes
    media_type: str
    etag: str


def asset(body: bytes, suffix: str) -> Asset:
    """`body` as a file whose name ends in `suffix`."""
    return Asset(body, _TYPES[suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')


@page_router.api_route("/", methods=["GET", "HEAD"])
async def home(request: Request) -> Response:
    """The page where HTML is asked for, as browsers do; the JSON index for everyone else."""
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse((await index(request)).model_dump(), headers={"Vary": "Accept"})
    if request.scope.get(UNSLASHED):
        return RedirectResponse(request.scope[PREFIX].rpartition("/")[2] + "/")
    answer = _answer(request, _page(request.app.state.settings.max_upload_bytes), _PAGE_POLICY)
    answer.headers["Vary"] = "Accept"
    return answer


@page_router.api_route("/page/{name}", methods=["GET", "HEAD"])
async def page_file(request: Request, name: str) -> Response:
    """What the page loads."""
    return _answer(request, _found(_page_files(), name), _PAGE_POLICY)


@docs_router.api_route("/docs", methods=["GET", "HEAD"])
async def docs(request: Request) -> Response:
    """Interactive documentation."""
    return _answer(request, _docs_files()["docs.html"], _DOCS_POLICY)


@docs_router.api_route("/docs/", methods=["GET", "HEAD"])
async def docs_with_slash() -> Response:
    """What the page loads would not be found from here."""
    return RedirectResponse("../docs")


@docs_router.api_route("/openapi.json", methods=["GET", "HEAD"])
async def document(request: Request) -> Response:
    """What the documentation shows. Where no proxy's path is known, requests go to where this document came from."""
    servers = [{"url": request.scope.get(PREFIX) or "."}]
    return JSONResponse(request.app.openapi() | {"servers": servers})


@docs_router.api_route("/docs/{name}", methods=["GET", "HEAD"])
async def docs_file(request: Request, name: str) -> Response:
    """What the documentation loads."""
    return _answer(request, _found(_docs_files(), name), _DOCS_POLICY)


@cache
def _page(max_upload_bytes: int) -> Asset:
    html = (PAGE_DIR / "index.html").read_bytes()
    return asset(html.replace(_LIMIT, str(max_upload_bytes).encode()), ".html")


@cache
def _page_files() -> dict[str, Asset]:
    paths = [path for path in PAGE_DIR.iterdir() if path.suffix in (".css", ".js", ".svg")]
    return _assets({path.name: path.read_bytes() for path in paths})


@cache
def _docs_files() -> dict[str, Asset]:
    swagger = resources.files(SWAGGER_PACKAGE) / "static"
    ours = {name: (PAGE_DIR / name).read_bytes() for name in ("docs.html", "docs.js", "icon.svg")}
    return _assets(ours | {name: (swagger / name).read_bytes() for name in SWAGGER_FILES})


def _assets(files: Mapping[str, bytes]) -> dict[str, Asset]:
    return {name: asset(body, Path(name).suffix) for name, body in files.items()}


def _found(files: Mapping[str, Asset], name: str) -> Asset:
    """Only names that were read from the folder are answered: no path of a request reaches the disk."""
    if name not in files:
        raise HTTPException(404, "There is no such file.")
    return files[name]


def _answer(request: Request, file: Asset, policy: str) -> Response:
    headers = _HEADERS | {"Content-Security-Policy": policy, "ETag": file.etag}
    if _matches(request.headers.get("if-none-match", ""), file.etag):
        return Response(status_code=304, headers=headers)
    return Response(file.body, headers=headers, media_type=file.media_type)


def _matches(condition: str, etag: str) -> bool:
    """RFC 9110 §13.1.2, by weak comparison: a proxy that compresses makes the tag weak."""
    return etag in (tag.strip().removeprefix("W/") for tag in condition.split(",")) or condition == "*"
