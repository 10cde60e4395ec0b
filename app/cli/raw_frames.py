"""Raw video frames in and out: RGB24 from standard input, RGBA or grey to standard output. Knows no model.

A frame is its pixels and nothing else, so that only its size tells where the next one begins.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from app.cli.frame_options import FramesOptions
from model.transforms import Image

_STDIN: Final = 0
_STDOUT: Final = 1
_STDERR: Final = 2


class FramesStopped(Exception):  # noqa: N818 - said of all frames that would follow
    """No further frame can be done. The message says why."""


class Source(Protocol):
    """What frames are read from."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...


class Target(Protocol):
    """Where frames are written to."""

    def write(self, data: memoryview, /) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Streams:
    """Where the frames come from, and where they go."""

    source: Source
    target: Target


def standard_streams(order: FramesOptions) -> Streams:
    """Standard input and output, for frames alone: from now on, whatever else is printed goes to standard error.

    Raises FramesStopped where one of them is a terminal or closed.
    """
    after = f"ffmpeg -f rawvideo -pix_fmt {order.pixel_format} -s {order.size} -i - OUTPUT"
    if os.isatty(_STDIN):
        raise FramesStopped(
            "no frame comes from standard input; send raw RGB frames: ffmpeg -i INPUT -f rawvideo -pix_fmt rgb24 - "
            f"| u2matte frames --size {order.size} | {after}"
        )
    if os.isatty(_STDOUT):
        raise FramesStopped(f"raw frames are not written to a terminal; send them on: … | {after}")
    try:
        for each in (_STDIN, _STDOUT):
            os.fstat(each)  # before `dup` can take the number of a closed one
        source, target = os.dup(_STDIN), os.dup(_STDOUT)
    except OSError as error:
        raise FramesStopped(f"standard input or output is closed: {error.strerror}") from None
    with suppress(OSError):  # where standard error is closed
        os.dup2(_STDERR, _STDOUT)
    return Streams(os.fdopen(source, "rb", buffering=0), os.fdopen(target, "wb", buffering=0))


def read_frame(source: Source, order: FramesOptions, number: int) -> Image | None:
    """The frame uint8 `[H,W,3]` with this number, counted from 1; None at the end of the input.

    Raises FramesStopped where the input ends within the frame, or cannot be read.
    """
    frame = np.empty((order.height, order.width, 3), np.uint8)
    room = frame.data.cast("B")
    filled = 0
    try:
        while filled < len(room) and (count := source.readinto(room[filled:])):
            filled += count
    except OSError as error:
        raise FramesStopped(f"standard input cannot be read: {error.strerror or error}") from None
    if not filled:
        return None
    if filled < len(room):
        raise FramesStopped(
            f"the input ended within frame {number}: {len(room) - filled:,} of its {len(room):,} bytes are missing. "
            f"Either it was cut off, or its frames are not {order.size} in rgb24: see --size, and ffmpeg's -pix_fmt."
        )
    return frame


def write_frame(target: Target, pixels: Image) -> None:
    """All of it. Raises BrokenPipeError where nobody reads on, FramesStopped where it cannot be written."""
    rest = np.ascontiguousarray(pixels).data.cast("B")
    try:
        while rest:
            rest = rest[target.write(rest) or 0 :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise FramesStopped(f"standard output cannot be written: {error.strerror or error}") from None
