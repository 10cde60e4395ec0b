from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
import warnings
from collections.abc import Callable
from typing import Any

import PIL.Image
import pytest

from app.imaging import decode as codec
from app.imaging import encode as encoding
from app.inference.backends.base import Alphas, Batch
from app.observability.logs import configure_logs, request_id
from tests.support.images import plain, png, saved
from tests.support.services import Running


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_each_record_is_one_json_line_with_its_extras() -> None:
    stream = io.StringIO()
    configure_logs("info", stream)
    logging.getLogger("some").info("two\nlines", extra={"status": 200})
    logging.getLogger("some").debug("not this")
    (line,) = lines(stream)
    assert line["message"] == "two\nlines"
    assert (line["level"], line["logger"], line["status"]) == ("info", "some", 200)
    assert "request_id" not in line


def test_record_carries_the_request_id() -> None:
    stream = io.StringIO()
    configure_logs("info", stream)
    token = request_id.set("abc")
    logging.getLogger("some").info("hello")
    request_id.reset(token)
    assert lines(stream)[0]["request_id"] == "abc"


def test_traceback_and_warnings_stay_in_their_line() -> None:
    stream = io.StringIO()
    configure_logs("info", stream)
    try:
        raise ValueError("gone wrong")
    except ValueError:
        logging.getLogger("some").exception("failed")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("careful", stacklevel=1)
    failed, warned = lines(stream)
    assert "gone wrong" in str(failed["traceback"])
    assert "careful" in str(warned["message"])


def test_a_photos_metadata_is_not_logged_at_any_level() -> None:
    stream = io.StringIO()
    configure_logs("debug", stream)
    exif = PIL.Image.Exif()
    exif[0x010E] = "the beach at home"
    codec.decode_image(saved(plain(9), "JPEG", exif=exif), max_pixels=10_000)
    logging.getLogger("app").debug("decoded")
    assert "decoded" in stream.getvalue()
    assert "the beach at home" not in stream.getvalue()


async def test_every_line_inside_a_request_carries_its_id(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the event loop, of the threads that decode and encode, and of a task of its own."""
    decode, encode = codec.decode_photo, encoding.encode

    def tell(work: Callable[..., Any]) -> Callable[..., Any]:
        def telling(*given: object, **named: object) -> object:
            logging.getLogger("some").info(threading.current_thread().name)
            return work(*given, **named)

        return telling

    monkeypatch.setattr(codec, "decode_photo", tell(decode))
    monkeypatch.setattr(encoding, "encode", tell(encode))
    stream = io.StringIO()
    async with running() as service:
        configure_logs("info", stream)
        names = ["a", "b", "c"]
        await asyncio.gather(*(service.post(png(plain(1)), headers={"X-Request-Id": each}) for each in names))
    told = [line for line in lines(stream) if line["logger"] != "httpx"]
    assert {line["request_id"] for line in told} == {*names}
    for name in names:
        own = [str(line["message"]) for line in told if line["request_id"] == name]
        assert [message.partition("_")[0] for message in own] == ["cpu", "cpu", "request"]


async def test_the_line_of_a_failed_batch_names_all_its_requests(running: Running) -> None:
    def fail(batch: Batch) -> Alphas:
        raise ValueError("the network is gone")

    stream = io.StringIO()
    async with running(fail, max_batch_size=2, lanes=1, batch_wait_ms=10_000) as service:
        configure_logs("info", stream)
        answers = await asyncio.gather(
            service.post(png(plain(1)), headers={"X-Request-Id": "a"}),
            service.post(png(plain(2)), headers={"X-Request-Id": "b"}),
        )
    assert [answer.status_code for answer in answers] == [500, 500]
    (failed,) = (line for line in lines(stream) if "failed" in str(line["message"]))
    assert sorted(failed["request_ids"]) == ["a", "b"]  # type: ignore[call-overload]
