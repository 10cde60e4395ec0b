"""Every way a request can fail comes in as an exception, one HTTP answer goes out. Knows no pixel.

    ServiceError
      ClientError                     the sender must change something
        MissingSource        400      missing_source
        MultipleSources      400      multiple_sources
        BadForm              400      invalid_form
        UnreadableImage      400      failed_to_read_image
        Unauthorised         401      auth_failed
        BodyTooSlow          408      body_too_slow
        BodyTooLarge         413      file_too_large
        TooManyPixels        413      resolution_too_high
        UnsupportedType      415      invalid_file_type
        UnknownOption        422      unknown_option
        InvalidOption        422      invalid_option
          InvalidQuality     422      invalid_quality
          InvalidFormat      422      invalid_format
          InvalidChannels    422      invalid_channels
          InvalidType        422      invalid_type
          InvalidBackground  422      invalid_bg_color
          MultipleBackgrounds 422     multiple_bg_sources
          InvalidBlur        422      invalid_blur
          InvalidCrop        422      invalid_crop
          InvalidMargin      422      invalid_crop_margin
          InvalidSize        422      invalid_size
          InvalidScale       422      invalid_scale
          InvalidPosition    422      invalid_position
          InvalidShadow      422      invalid_shadow
          InvalidRegion      422      invalid_roi
          RegionEmpty        422      roi_region_empty
          RegionOutside      422      roi_exceeds_bounds
        UnknownForeground    422      unknown_foreground      (remove.bg's clients expect an error where nobody is)
        ClientGone           499      client_closed_request   (nobody reads it; for the log and the metrics)
      Busy                            the same request may work later
        QueueFull            429      rate_limit_exceeded     + Retry-After
        NotReady             503      not_ready               + Retry-After
        DeadlinePassed       504      deadline_passed
      InferenceFailed        500      internal

Codes are remove.bg's where it has one, so that its clients need no second table.
"""

# ruff: noqa: N818 - the tree above says that they are errors; their names say what went wrong.

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.logs import request_id
from app.schemas import ErrorBody, ErrorItem


class ServiceError(Exception):
    """Root of all expected failures. `detail` is a sentence for the person who sent the request."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    retry_after_s: ClassVar[int | None] = None

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class ClientError(ServiceError):
    """The request cannot succeed as it was sent."""


class MissingSource(ClientError):
    status, code, title = 400, "missing_source", "No image given"


class MultipleSources(ClientError):
    status, code, title = 400, "multiple_sources", "More than one image given"


class BadForm(ClientError):
    status, code, title = 400, "invalid_form", "Malformed form"


class UnreadableImage(ClientError):
    status, code, title = 400, "failed_to_read_image", "Failed to read image"


class Unauthorised(ClientError):
    status, code, title = 401, "auth_failed", "API key missing or wrong"


class BodyTooSlow(ClientError):
    status, code, title = 408, "body_too_slow", "Upload too slow"


class BodyTooLarge(ClientError):
    status, code, title = 413, "file_too_large", "File too large"


class TooManyPixels(ClientError):
    status, code, title = 413, "resolution_too_high", "Resolution too high"


class UnsupportedType(ClientError):
    status, code, title = 415, "invalid_file_type", "Invalid file type"


class UnknownOption(ClientError):
    status, code, title = 422, "unknown_option", "Unknown option"


class InvalidOption(ClientError):
    """An option has a value that it cannot have."""

    status, code, title = 422, "invalid_option", "Invalid option"


class InvalidQuality(InvalidOption):
    code, title = "invalid_quality", "Invalid quality"


class InvalidFormat(InvalidOption):
    code, title = "invalid_format", "Invalid format"


class InvalidChannels(InvalidOption):
    code, title = "invalid_channels", "Invalid channels"


class InvalidType(InvalidOption):
    code, title = "invalid_type", "Invalid type"


class InvalidBackground(InvalidOption):
    code, title = "invalid_bg_color", "Invalid background colour"


class MultipleBackgrounds(InvalidOption):
    code, title = "multiple_bg_sources", "More than one background given"


class InvalidBlur(InvalidOption):
    code, title = "invalid_blur", "Invalid blur"


class InvalidCrop(InvalidOption):
    code, title = "invalid_crop", "Invalid crop"


class InvalidMargin(InvalidOption):
    code, title = "invalid_crop_margin", "Invalid margin"


class InvalidSize(InvalidOption):
    code, title = "invalid_size", "Invalid size"


class InvalidScale(InvalidOption):
    code, title = "invalid_scale", "Invalid scale"


class InvalidPosition(InvalidOption):
    code, title = "invalid_position", "Invalid position"


class InvalidShadow(InvalidOption):
    code, title = "invalid_shadow", "Invalid shadow"


class InvalidRegion(InvalidOption):
    code, title = "invalid_roi", "Invalid region"


class RegionEmpty(InvalidOption):
    code, title = "roi_region_empty", "Nobody in the region"


class RegionOutside(InvalidOption):
    code, title = "roi_exceeds_bounds", "Region outside the photo"


class UnknownForeground(ClientError):
    status, code, title = 422, "unknown_foreground", "Could not identify foreground in image"


class ClientGone(ClientError):
    status, code, title = 499, "client_closed_request", "Client closed the connection"


class Busy(ServiceError):
    """Nothing is wrong with the request; the service cannot do it now."""


class QueueFull(Busy):
    status, code, title, retry_after_s = 429, "rate_limit_exceeded", "Too many requests", 1


class NotReady(Busy):
    status, code, title, retry_after_s = 503, "not_ready", "Not ready", 5


class DeadlinePassed(Busy):
    status, code, title = 504, "deadline_passed", "Deadline passed"


class InferenceFailed(ServiceError):
    """The network failed on a batch, or gave numbers that are no alpha. Each waiter gets its own instance."""


def to_response(error: Exception, *, status: int | None = None) -> Response:
    """The one place where errors become HTTP: any exception to status, JSON body and headers.

    `status` takes the place of a ServiceError's own, for clients of another service's conventions. Unexpected
    exceptions become a 500 that says nothing about the inside.
    """
    if isinstance(error, ServiceError):
        headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
        if isinstance(error, Unauthorised):
            headers["WWW-Authenticate"] = "Bearer"
        return _answer(status or error.status, error.title, error.code, error.detail, headers)
    if isinstance(error, HTTPException):
        phrase = HTTPStatus(error.status_code).phrase
        return _answer(
            error.status_code,
            phrase,
            phrase.lower().replace(" ", "_"),
            error.detail,
            dict(error.headers or {}),
        )
    if isinstance(error, RequestValidationError):
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        return _answer(422, "Invalid option", "invalid_option", problems, {})
    return _answer(500, ServiceError.title, ServiceError.code, "The request failed inside the service.", {})


async def handle(_request: Request, error: Exception) -> Response:
    """`to_response` in the shape of a Starlette exception handler."""
    return to_response(error)


def _answer(status: int, title: str, code: str, detail: str, headers: dict[str, str]) -> Response:
    item = ErrorItem(title=title, code=code, detail=detail)
    body = ErrorBody(errors=[item], request_id=request_id.get())
    return JSONResponse(body.model_dump(), status, headers)
