"""All errors of requests, with HTTP status and code; `app.middleware.error_responses` turns them into answers.

    ServiceError
      ClientError                     the sender must change something
        MissingSource        400      missing_source
        MultipleSources      400      multiple_sources
        BadForm              400      invalid_form
        MalformedRequest     400      malformed_request       (no HTTP)
        UnreadableImage      400      failed_to_read_image
        Unauthorised         401      auth_failed
        UnknownModel         404      unknown_model
        BodyTooSlow          408      body_too_slow
        HeadTooSlow          408      head_too_slow
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
        UnknownForeground    422      unknown_foreground      (for remove.bg's clients, if no person is found)
        HeadTooLarge         431      head_too_large
        ClientGone           499      client_closed_request   (never sent; for the log and the metrics)
      Busy                            the same request may work later
        QueueFull            429      rate_limit_exceeded     + Retry-After
          SlotPreempted      429      rate_limit_exceeded     + Retry-After
          RateLimited        429      rate_limit_exceeded     + Retry-After, its own
        NotReady             503      not_ready               + Retry-After
        OutOfMemory          503      out_of_memory           + Retry-After
        TooManyConnections   503      too_many_connections    + Retry-After
        DeadlinePassed       504      deadline_passed
      InferenceFailed        500      internal

Codes are remove.bg's where it has one, so that its clients can keep their error handling.
"""

# ruff: noqa: N818 - all classes here are errors; the suffix would say nothing.

from __future__ import annotations

from typing import ClassVar


class ServiceError(Exception):
    """Base class of all expected errors. `detail` is a sentence for the person who sent the request."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    retry_after_s: int | None = None

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    @property
    def reason(self) -> str:
        """The error's label in the metric of refusals: its code, unless several reasons share the code."""
        return self.code

    @property
    def headers(self) -> dict[str, str]:
        """The headers of its answer."""
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}


class ClientError(ServiceError):
    """The request cannot succeed as it was sent."""


class MissingSource(ClientError):
    status, code, title = 400, "missing_source", "No image given"


class MultipleSources(ClientError):
    status, code, title = 400, "multiple_sources", "More than one image given"


class BadForm(ClientError):
    status, code, title = 400, "invalid_form", "Malformed form"


class MalformedRequest(ClientError):
    status, code, title = 400, "malformed_request", "Not an HTTP request"


class UnreadableImage(ClientError):
    status, code, title = 400, "failed_to_read_image", "Failed to read image"


class Unauthorised(ClientError):
    """`challenge`: the authentication scheme for WWW-Authenticate; after `Basic` a browser asks its user for a
    key."""

    status, code, title = 401, "auth_failed", "API key missing or wrong"

    def __init__(self, detail: str, *, challenge: str = "Bearer") -> None:
        super().__init__(detail)
        self._challenge = challenge

    @property
    def headers(self) -> dict[str, str]:
        return {**super().headers, "WWW-Authenticate": self._challenge}


class BodyTooSlow(ClientError):
    status, code, title = 408, "body_too_slow", "Upload too slow"


class HeadTooSlow(ClientError):
    status, code, title = 408, "head_too_slow", "Request too slow"


class BodyTooLarge(ClientError):
    status, code, title = 413, "file_too_large", "File too large"


class TooManyPixels(ClientError):
    status, code, title = 413, "resolution_too_high", "Resolution too high"


class UnsupportedType(ClientError):
    status, code, title = 415, "invalid_file_type", "Invalid file type"


class UnknownOption(ClientError):
    status, code, title = 422, "unknown_option", "Unknown option"


class UnknownModel(ClientError):
    status, code, title = 404, "unknown_model", "Unknown model"


class InvalidOption(ClientError):
    """An option has an invalid value."""

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


class HeadTooLarge(ClientError):
    status, code, title = 431, "head_too_large", "Request headers too large"


class ClientGone(ClientError):
    status, code, title = 499, "client_closed_request", "Client closed the connection"


class Busy(ServiceError):
    """The request is valid, but the service cannot take it now."""


class QueueFull(Busy):
    status, code, title, retry_after_s = 429, "rate_limit_exceeded", "Too many requests", 1
    reason = "queue_full"


class SlotPreempted(QueueFull):
    """The request had a slot, and another client got it."""

    reason = "place_lost"


class RateLimited(QueueFull):
    """The client has used up its rate, even if the service has room. `retry_after_s`: until it may post again."""

    reason = "rate_limited"

    def __init__(self, detail: str, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class NotReady(Busy):
    status, code, title, retry_after_s = 503, "not_ready", "Not ready", 5


class TooManyConnections(Busy):
    status, code, title, retry_after_s = 503, "too_many_connections", "Too many connections", 1


class OutOfMemory(Busy):
    status, code, title, retry_after_s = 503, "out_of_memory", "Out of memory", 5


class DeadlinePassed(Busy):
    status, code, title = 504, "deadline_passed", "Deadline passed"


class InferenceFailed(ServiceError):
    """The network failed on a batch, or returned values that are no alpha. Each waiter gets an instance of its
    own."""
