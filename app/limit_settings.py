"""The settings that say how much, how large and how long; as `app.setting_groups` the others."""

from __future__ import annotations

from pydantic import BaseModel, Field


class LimitSettings(BaseModel):
    """How much, how large, how long."""

    max_queue: int = Field(
        default=64,
        ge=1,
        le=10_000,
        description="Most matte requests at once, from first byte to answer; one more gets 429.",
    )
    overload_wait_ms: int = Field(
        default=1_000,
        ge=0,
        le=600_000,
        description="While requests are refused, fewer are let in, until answers take about so long; 0 for no less "
        "than `MATTE_MAX_QUEUE`, however long they take.",
    )
    max_upload_bytes: int = Field(
        default=25_000_000, ge=1_000, le=1_000_000_000, description="Largest request body, in bytes."
    )
    max_pixels: int = Field(
        default=65_000_000,
        ge=1_000,
        le=500_000_000,
        description="Largest picture, width times height in pixels, read from its header before decoding.",
    )
    max_decoded_bytes: int = Field(
        default=160_000_000,
        ge=1_000_000,
        le=1_000_000_000_000,
        description="Most bytes of decoded photos at once: 3 per pixel, for a cut-out 4, with a background or another"
        " size or format 10. Other photos wait as files.",
    )
    max_connections: int = Field(
        default=1_024,
        ge=1,
        le=1_000_000,
        description="Most open connections; for one more, the one that has been silent longest is closed.",
    )
    max_head_bytes: int = Field(
        default=32_768,
        ge=1_024,
        le=1_000_000,
        description="Largest head of a request (its line and its headers), in bytes; more gets 431.",
    )
    head_timeout_ms: int = Field(
        default=10_000,
        ge=10,
        le=3_600_000,
        description="Longest time for the head of a request to arrive, in milliseconds; then 408.",
    )
    keep_alive_ms: int = Field(
        default=75_000,
        ge=0,
        le=3_600_000,
        description="Longest silence of a connection between two requests, in milliseconds; then it is closed.",
    )
    body_timeout_ms: int = Field(
        default=30_000,
        ge=10,
        le=3_600_000,
        description="Longest time for the request body to arrive, in milliseconds; then 408.",
    )
    request_timeout_ms: int = Field(
        default=60_000,
        ge=10,
        le=3_600_000,
        description="Longest time from admission to the end of the answer, in milliseconds; then 504.",
    )
    drain_timeout_ms: int = Field(
        default=30_000,
        ge=0,
        le=600_000,
        description="Longest time to finish accepted requests after SIGTERM, in milliseconds.",
    )
    stuck_after_ms: int = Field(
        default=30_000,
        ge=100,
        le=3_600_000,
        description="Longest a batch may run, in ms; then `/readyz` is red, at twice that the process ends.",
    )
