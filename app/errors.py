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
        InvalidOption        422      invalid_option          or the option's own code: invalid_size, …
        MultipleBackgrounds  422      multiple_bg_sources
        RegionEmpty          422      roi_region_empty
        RegionOutside        422      roi_exceeds_bounds
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

from typing import ClassVar, Final


class ServiceError(Exception):
    """Base class of all expected errors. `detail` is a sentence for the person who sent the request."""

    status: ClassVar[int] = 500
    code: str = "internal"
    title: str = "Internal error"
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


_BACKGROUND: Final = ("invalid_bg_color", "Invalid background colour")
_MARGIN: Final = ("invalid_crop_margin", "Invalid margin")
_SHADOW: Final = ("invalid_shadow", "Invalid shadow")
INVALID: Final = {
    "background": _BACKGROUND,
    "margin": _MARGIN,
    # Of remove.bg's clients and of rembg's.
    "bg_color": _BACKGROUND,
    "bgc": _BACKGROUND,
    "crop_margin": _MARGIN,
    "add_shadow": _SHADOW,
    "shadow_type": _SHADOW,
    "shadow_opacity": _SHADOW,
    "type_level": ("invalid_type", "Invalid type"),
    "roi": ("invalid_roi", "Invalid region"),
    "om": ("invalid_option", "Invalid option"),
}
"""Code and title of a fault in an option, where they are not `invalid_<option>` and "Invalid <option>"."""


class InvalidOption(ClientError):
    """An option has an invalid value. Its code and title name `option`, if that is given."""

    status, code, title = 422, "invalid_option", "Invalid option"

    def __init__(self, detail: str, *, option: str = "") -> None:
        super().__init__(detail)
        if option:
            self.code, self.title = INVALID.get(option, (f"invalid_{option}", f"Invalid {option}"))


class MultipleBackgrounds(ClientError):
    status, code, title = 422, "multiple_bg_sources", "More than one background given"


class RegionEmpty(ClientError):
    status, code, title = 422, "roi_region_empty", "Nobody in the region"


class RegionOutside(ClientError):
    status, code, title = 422, "roi_exceeds_bounds", "Region outside the photo"


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


SHUT_DOWN: Final = "The service shut down before this picture was done."
# Said after what hangs.
NONE_TAKEN: Final = "No new photos are taken meanwhile."
WAITED_TOO_LONG: Final = "This picture has waited for too long."


class TooManyConnections(Busy):
    status, code, title, retry_after_s = 503, "too_many_connections", "Too many connections", 1


class OutOfMemory(Busy):
    status, code, title, retry_after_s = 503, "out_of_memory", "Out of memory", 5


class DeadlinePassed(Busy):
    status, code, title = 504, "deadline_passed", "Deadline passed"


class InferenceFailed(ServiceError):
    """The network failed on a batch, or returned values that are no alpha. Each waiter gets an instance of its
    own."""
