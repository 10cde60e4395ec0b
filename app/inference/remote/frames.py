"""Frames on a Unix socket: a message as JSON, and with some of them the bytes of an array.

    kind (1 byte)  bytes of the message (4)  bytes of the array (4)  number of the exchange (8)  message  array

The number ties an answer to its question. A frame that breaks the rules ends its connection. Both ends are processes
of one user on one host, so arrays travel in the host's own byte order. Knows no models and no batches.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias, cast, get_args

from pydantic import TypeAdapter, ValidationError

MESSAGE_BYTES_MAX: Final = 65_536
ARRAY_BYTES_MAX: Final = 64_000_000

_HEAD: Final = struct.Struct("!BIIQ")
_log: Final = logging.getLogger(__name__)

Bytes: TypeAlias = bytes | memoryview


class FrameError(Exception):
    """The other end sent what is not a frame, or not one that may come now."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Front end: its name, the first message of a connection."""

    name: str


@dataclass(frozen=True, slots=True)
class Load:
    """Front end: load the model of a folder, which must be this one; answered by Loaded or Failed."""

    path: str
    label: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """The number of a model on this connection, and what answers and metrics say of it."""

    model: int
    device: str
    runtime: str
    precision: str
    batch_sizes: tuple[int, ...]
    lanes: int


@dataclass(frozen=True, slots=True)
class Unload:
    """Front end: it does not use this model any more."""

    model: int


@dataclass(frozen=True, slots=True)
class Arriving:
    """Front end: so many photos for this model are being decoded."""

    model: int
    photos: int


@dataclass(frozen=True, slots=True)
class Submit:
    """Front end: run a square, the array, uint8 `[S,S,3]`; answered by Done or Failed. `request`: its id for logs."""

    model: int
    request: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Front end: nobody waits any more for the answer to the frame of this number."""


@dataclass(frozen=True, slots=True)
class Done:
    """The square's alpha, the array, float32 `[S,S]`: how long it waited and ran, and with how many others."""

    queue_s: float
    run_s: float
    size: int


@dataclass(frozen=True, slots=True)
class Failed:
    """`error`: the name of a class of errors."""

    error: str
    detail: str


@dataclass(frozen=True, slots=True)
class State:
    """Inference process, at least once a second: what hangs, in a sentence, or nothing."""

    stuck: str


@dataclass(frozen=True, slots=True)
class Gather:
    """Front end: send me the metrics of this process and, if `others`, of all front ends; answered by Pages."""

    others: bool


@dataclass(frozen=True, slots=True)
class Collect:
    """Inference process: send me your metrics; answered by Pages."""


@dataclass(frozen=True, slots=True)
class Pages:
    """Metrics in the text format, the array: of each process its name and its bytes, one after the other."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]


Message: TypeAlias = (
    Hello
    | Load
    | Loaded
    | Unload
    | Arriving
    | Submit
    | Cancel
    | Done
    | Failed
    | State
    | Gather
    | Collect
    | Pages
)
_KINDS: Final[tuple[type[Message], ...]] = get_args(Message)
_NUMBERS: Final = {kind: number for number, kind in enumerate(_KINDS)}
_READERS: Final[tuple[TypeAdapter[Message], ...]] = tuple(TypeAdapter(kind) for kind in _KINDS)


def encode(number: int, message: Message, array: Bytes = b"") -> list[Bytes]:
    """A frame as pieces to be written one after the other. `array` is not copied: it must stay as it is."""
    kind = _NUMBERS[type(message)]
    text = _READERS[kind].dump_json(message)
    body = memoryview(array).cast("B")
    return [_HEAD.pack(kind, len(text), body.nbytes, number) + text, *([body] if body.nbytes else [])]


class FrameProtocol(asyncio.BufferedProtocol):
    """One end of a connection. `on_frame` gets each frame: its number, its message and its array, whose bytes are
    its own; if it raises FrameError, the connection ends. `on_lost` is called once, when the connection has ended.

    What is written waits in memory until the other end reads it: the callers bound how much that is."""

    def __init__(
        self, on_frame: Callable[[int, Message, memoryview], None], on_lost: Callable[[], None]
    ) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._head: tuple[int, int, int, int] | None = None
        self._expect(_HEAD.size)

    def send(self, number: int, message: Message, array: Bytes = b"") -> None:
        """Write a frame; nothing happens when the connection has ended."""
        if self._transport is not None and self.open:
            for piece in encode(number, message, array):  # `writelines` would join them first
                self._transport.write(piece)

    @property
    def open(self) -> bool:
        """Whether the connection lasts."""
        return self._transport is not None and not self._transport.is_closing()

    def end(self) -> None:
        """End the connection; what is not written yet is lost."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        # The socket's buffers stay small: with 4 MB a frame took 0.30 ms of CPU instead of 0.09 (caches).
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of no class of asyncio's

    def connection_lost(self, _error: Exception | None) -> None:
        """Called by asyncio."""
        self._transport = None
        self._on_lost()

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Called by asyncio: what is read goes straight to its place."""
        return self._buffer[self._filled :]

    def buffer_updated(self, count: int) -> None:
        """Called by asyncio."""
        self._filled += count
        if self._filled < len(self._buffer):
            return
        try:
            self._take()
        except FrameError as error:
            _log.error("a connection between processes ends: %s", error)
            self.end()

    def _take(self) -> None:
        """The buffer is full: with a head, or with what belongs to it."""
        if self._head is None:
            self._head = head = _HEAD.unpack(self._buffer)
            self._expect(_checked_size(*head[:3]))
            return
        (kind, text, _, number), body = self._head, self._buffer
        self._head = None
        self._expect(_HEAD.size)
        try:
            message = _READERS[kind].validate_json(bytes(body[:text]))
        except ValidationError as error:
            raise FrameError(f"{_KINDS[kind].__name__}: {error}") from None
        self._on_frame(number, message, body[text:])

    def _expect(self, size: int) -> None:
        self._buffer = memoryview(bytearray(size))
        self._filled = 0


def _checked_size(kind: int, text: int, array: int) -> int:
    if kind >= len(_KINDS) or not 2 <= text <= MESSAGE_BYTES_MAX or array > ARRAY_BYTES_MAX:
        raise FrameError(f"not a frame: kind {kind}, {text} and {array} bytes")
    return text + array
