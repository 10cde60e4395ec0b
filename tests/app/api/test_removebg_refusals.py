"""What POST /v1.0/removebg refuses, with remove.bg's statuses and codes."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import pytest

from app.api.removebg import PATH, status_of
from app.errors import ClientError, InvalidOption, ServiceError, Unauthorised
from tests.support.images import plain, png
from tests.support.person_image import finds_nobody, finds_standing, standing
from tests.support.services import Running

PHOTO = png(standing())
ENCODED = base64.b64encode(PHOTO).decode()

REFUSED = [
    ({}, "missing_source"),
    ({"image_url": "https://example.com/me.jpg"}, "missing_source"),
    ({"image_file": "me.jpg"}, "invalid_option"),
    ({"image_file_b64": "no base64!"}, "failed_to_read_image"),
    ({"image_file_b64": "ünïcödé"}, "failed_to_read_image"),
    ({"image_file_b64": "AAAAA"}, "failed_to_read_image"),
    ({"image_file_b64": "aGVsbG8="}, "invalid_file_type"),
    ({"image_file_b64": ENCODED, "bg_image_url": "https://example.com/beach.jpg"}, "missing_source"),
    ({"image_file_b64": ENCODED, "bg_image_file": "beach.jpg"}, "invalid_option"),
    ({"image_file_b64": ENCODED, "size": "huge"}, "invalid_size"),
    ({"image_file_b64": ENCODED, "type": "car"}, "invalid_type"),
    ({"image_file_b64": ENCODED, "roi": "0 0 5px 5px"}, "roi_region_empty"),
    ({"image_file_b64": ENCODED, "roi": "0 0 900px 5px"}, "roi_exceeds_bounds"),
    ({"image_file_b64": ENCODED, "roi": "9px 9px 9px 9px"}, "invalid_roi"),
    ({"image_file_b64": "https://x/photo.jpg"}, "missing_source"),
    ({"image_file_b64": ENCODED, "shape": "round"}, "unknown_option"),
    ({"image_file_b64": ENCODED, "x" * 5_000: "1"}, "unknown_option"),
]


@pytest.mark.parametrize("form", ["urlencoded", "JSON"])
@pytest.mark.parametrize(("parameters", "code"), REFUSED, ids=[code for _, code in REFUSED])
async def test_what_cannot_be_done_is_a_400_with_its_code(
    running: Running, form: str, parameters: dict[str, str], code: str
) -> None:
    form_type = {"content-type": "application/x-www-form-urlencoded"}
    call = {"json": parameters} if form == "JSON" else {"data": parameters, "headers": form_type}
    async with running(finds_standing) as service:
        answer = await service.client.post(PATH, **call)
    (problem,) = answer.json()["errors"]
    assert (answer.status_code, problem["code"]) == (400, code)
    assert len(problem["detail"]) < 300
    if code == "unknown_option":
        assert "`image_file`" in problem["detail"]
    if "url" in "".join(parameters) or parameters.get("image_file_b64", "").startswith("http"):
        wanted = "`bg_image_file`" if "bg_image_url" in parameters else "`image_file`"
        assert "not fetched" in problem["detail"]
        assert wanted in problem["detail"]


FILES = [
    ([("image_file", PHOTO), ("image_file", PHOTO)], "multiple_sources"),
    ([("image_file", PHOTO), ("image_file_b64", (None, ENCODED))], "multiple_sources"),
    (
        [("image_file", PHOTO), ("bg_image_file", PHOTO), ("bg_color", (None, "red"))],
        "multiple_bg_sources",
    ),
    ([("image_file", PHOTO), ("bg_image_file", PHOTO[:-9])], "failed_to_read_image"),
    ([("image_file_b64", ENCODED.encode())], "invalid_option"),
    ([("image_file", b"")], "missing_source"),
    ([("image_file", png(plain(1, 300, 300)))], "resolution_too_high"),
]


@pytest.mark.parametrize(("files", "code"), FILES, ids=[code for _, code in FILES])
async def test_files_that_cannot_be_used_are_a_400_with_their_code(
    running: Running, files: list[tuple[str, object]], code: str
) -> None:
    async with running(finds_standing, max_pixels=50_000) as service:
        answer = await service.client.post(PATH, files=files)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, code)


async def test_empty_fields_are_fields_left_out(running: Running) -> None:
    files = [("image_file", b""), ("image_file_b64", (None, ENCODED)), ("image_url", (None, " "))]
    async with running(finds_standing) as service:
        answer = await service.client.post(PATH, files=[*files, ("bg_color", (None, ""))])
    assert answer.status_code == 200


async def test_nobody_is_an_unknown_foreground(running: Running) -> None:
    async with running(finds_nobody) as service:
        answer = await service.client.post(PATH, files={"image_file": PHOTO})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "unknown_foreground")


@pytest.mark.parametrize("chunked", [True, False])
async def test_too_many_bytes_are_a_413_however_they_come(running: Running, chunked: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"image_file_b64": "'
        yield b"A" * 5_000

    content = chunks() if chunked else b"A" * 5_000
    async with running(max_upload_bytes=1_000) as service:
        answer = await service.client.post(
            PATH, content=content, headers={"content-type": "application/json"}
        )
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (413, "file_too_large")


def test_statuses_are_remove_bgs_where_the_client_is_at_fault() -> None:
    assert status_of(InvalidOption) == 400
    assert status_of(Unauthorised) == 401
    assert status_of(ServiceError) == 500
    assert all(status_of(kind) in (400, 401, 408, 413, 431, 499) for kind in ClientError.__subclasses__())
