"""The requests of a mixed day: good photos, bad files, slow uploads.

In: a client and an address. Out: how each request ended, as an `Ending`. Knows no load and no verdict.

Whether a picture is its photo's own is seen by the answer that the same request got while it was alone.
"""

from __future__ import annotations

import asyncio
import io
import struct
import zipfile
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

import cv2
import httpx
import numpy as np
import skimage.data

from tests.support.images import Image, pixels, saved

TOLERANCE: Final = 1.0  # of 255, on average: batches of other sizes round otherwise
APART: Final = 5.0  # of 255: so far are the answers of two requests of one size at least
CROP_SLACK: Final = 4  # pixels by which rounding may move a crop's border
PIECES: Final = 8
PIECE_PAUSE_S: Final = 0.2
BUSY: Final = "429 rate_limit_exceeded"
References = Mapping[str, bytes]  # what is answered to each request that is alone in the service, by its name

SIZES: Final = ((1024, 1024), (1024, 1024), (1448, 1024), (1448, 1024), (2048, 2048))  # height, width


@dataclass(frozen=True, slots=True)
class Request:
    """One that is sent in one go. `ending`: the status, and an error's code. `size`: of the answer, (height, width);
    None if that depends on the person."""

    name: str
    path: str
    data: bytes = field(repr=False)
    options: Mapping[str, str]
    ending: str
    size: tuple[int, int] | None = None

    async def send(self, client: httpx.AsyncClient, address: str) -> httpx.Response:
        files = {"image": ("photo", self.data)}
        return await client.post(f"{address}{self.path}", data=dict(self.options), files=files)


@dataclass(frozen=True, slots=True)
class Ending:
    """`told`: status and code, or what the client did. `problem`: empty if that is as it should be."""

    told: str
    problem: str = ""


def photos() -> list[tuple[Image, bytes]]:
    """NASA's portrait of Eileen Collins (public domain, from scikit-image), shifted, turned round and enlarged, so
    that no two mattes are alike; with its JPEG."""
    found = []
    for number, (height, width) in enumerate(SIZES):
        portrait = np.roll(skimage.data.astronaut(), 40 * number, axis=1)
        portrait = portrait[:, ::-1] if number % 2 else portrait
        image = np.asarray(cv2.resize(portrait, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
        found.append((image, saved(image, "JPEG", quality=90)))
    return found


def good() -> list[Request]:
    """Mattes and cut-outs of each kind."""
    kinds: list[tuple[str, dict[str, str]]] = [
        ("/v1/matte", {}),
        ("/v1/cutout", {}),
        ("/v1/cutout", {"background": "seagreen", "format": "jpg"}),
        ("/v1/cutout", {"blur": "60", "format": "jpg"}),
        ("/v1/cutout", {"crop": "true", "margin": "5%", "format": "webp"}),
        ("/v1/cutout", {"shadow": "50", "format": "zip"}),
    ]
    return [
        Request(f"photo {number} {path} {options}", path, data, options, "200", of_answer)
        for number, (image, data) in enumerate(photos())
        for path, options in kinds
        for of_answer in [None if "crop" in options else (image.shape[0], image.shape[1])]
    ]


def bad(largest_upload: int) -> list[Request]:
    """Files and options that must be refused, each with what must be said of it."""
    image, whole = photos()[0]
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    bomb += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    refused: list[tuple[bytes, dict[str, str], str]] = [
        (whole[: len(whole) // 2], {}, "400 failed_to_read_image"),
        (saved(image, "WEBP", quality=80)[:-4000], {}, "400 failed_to_read_image"),
        (b"", {}, "400 missing_source"),
        (bomb, {}, "413 resolution_too_high"),
        (bytes(largest_upload), {}, "413 file_too_large"),
        (b"GIF89a" + bytes(1000), {}, "415 invalid_file_type"),
        (whole, {"crop": "perhaps"}, "422 invalid_crop"),
        (whole, {"colour": "red"}, "422 unknown_option"),
    ]
    return [Request(ending, "/v1/cutout", data, options, ending) for data, options, ending in refused]


async def alone(client: httpx.AsyncClient, address: str, requests: Sequence[Request]) -> References:
    """The answer to each, alone in the service, by its name.

    Raises ValueError if one has the wrong size, or if those of two photos could be taken for one another.
    """
    answers, seen = {}, {}
    for request in requests:
        answer = await request.send(client, address)
        answer.raise_for_status()
        answers[request.name], seen[request.name] = answer.content, picture(answer.content)
        if problem := _wrong_size(request, answer, seen[request.name]):
            raise ValueError(problem)
    for one, other in combinations(requests, 2):
        first, second = seen[one.name], seen[other.name]
        if one.data != other.data and first.shape == second.shape and _distance(first, second) < APART:
            raise ValueError(f"the answers of {one.name} and of {other.name} are too much alike")
    return answers


async def ended(client: httpx.AsyncClient, address: str, request: Request, references: References) -> Ending:
    """Send one and judge its answer."""
    try:
        return judged(request, await request.send(client, address), references)
    except httpx.TransportError as error:
        return lost(error, request.name)


def judged(request: Request, answer: httpx.Response, references: References) -> Ending:
    told = told_by(answer)
    if told == BUSY:
        return Ending(told)
    if told != request.ending:
        return Ending(told, f"{request.name}: {told} instead of {request.ending}")
    return Ending(told, _wrong(request, answer, references[request.name]) if told == "200" else "")


def told_by(answer: httpx.Response) -> str:
    """The status, and an error's code behind it."""
    if answer.status_code == 200:
        return "200"
    try:
        return f"{answer.status_code} {answer.json()['errors'][0]['code']}"
    except (ValueError, KeyError, IndexError, TypeError):
        return f"{answer.status_code} without a code"


def picture(data: bytes) -> Image:
    """The answer's pixels; of an archive the alpha."""
    if data.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            data = archive.read("alpha.png")
    return pixels(data)


async def dawdle(client: httpx.AsyncClient, address: str, request: Request, references: References) -> Ending:
    """The body in pieces, slowly, but in time. Only for requests without options."""

    async def body() -> AsyncIterator[bytes]:
        step = -(-len(request.data) // PIECES)
        for start in range(0, len(request.data), step):
            yield request.data[start : start + step]
            await asyncio.sleep(PIECE_PAUSE_S)

    try:
        answer = await client.post(
            f"{address}{request.path}", content=body(), headers={"Content-Type": "image/jpeg"}
        )
    except httpx.TransportError as error:
        return lost(error, f"{request.name}, slowly")
    return judged(request, answer, references)


def lost(error: Exception, name: str) -> Ending:
    kind = type(error).__name__
    return Ending(f"lost ({kind})", f"{name}: no answer, {kind}")


def _wrong(request: Request, answer: httpx.Response, reference: bytes) -> str:
    """What is wrong with a picture, in words; empty if nothing is."""
    if answer.content == reference:
        return ""
    try:
        got, expected = picture(answer.content), picture(reference)
    except (OSError, zipfile.BadZipFile) as error:
        return f"{request.name}: no picture, {type(error).__name__}"
    if problem := _wrong_size(request, answer, got):
        return problem
    if got.shape != expected.shape:
        if got.ndim != expected.ndim or np.abs(np.subtract(got.shape, expected.shape)).max() > CROP_SLACK:
            return f"{request.name}: wrong size, {got.shape} instead of {expected.shape}"
        got = np.asarray(cv2.resize(got, expected.shape[1::-1]), np.uint8)
    distance = _distance(got, expected)
    return "" if distance <= TOLERANCE else f"{request.name}: wrong picture, {distance:.1f} of 255 off"


def _wrong_size(request: Request, answer: httpx.Response, got: Image) -> str:
    told = int(answer.headers.get("X-Height", 0)), int(answer.headers.get("X-Width", 0))
    size = got.shape[:2]
    if size == told and request.size in (size, None):
        return ""
    return f"{request.name}: wrong size, {size}; its headers say {told}"


def _distance(one: Image, other: Image) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())
