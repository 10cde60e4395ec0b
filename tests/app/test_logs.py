from __future__ import annotations

import io
import json
import logging
import warnings

import PIL.Image

from app import codec
from app.logs import configure_logs, request_id
from tests.portraits import plain, saved


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
