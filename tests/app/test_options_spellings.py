"""What people really send: blank fields, other spellings, nothing at all: on every route and in every way."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import httpx
import numpy as np
import pytest

from app.api import rembg, removebg
from app.api.removebg_options import RemovebgOptions
from app.options import CutoutOptions, MatteOptions
from tests.support.images import pixels, png
from tests.support.person_image import BOX, finds_standing, standing
from tests.support.services import Running, Service

PHOTO = png(standing())
ENCODED = base64.b64encode(PHOTO).decode()
URLENCODED = {"content-type": "application/x-www-form-urlencoded"}
# Of each route the form field of its photo, and its options.
ROUTES: dict[str, tuple[str, tuple[str, ...]]] = {
    "/v1/matte": ("image", tuple(MatteOptions.model_fields)),
    "/v1/cutout": ("image", tuple(CutoutOptions.model_fields)),
    removebg.PATH: (
        "image_file",
        (*RemovebgOptions.model_fields, "image_url", "bg_image_url", "bg_image_file"),
    ),
    rembg.PATH: ("file", tuple(rembg.RembgOptions.model_fields)),
}


async def every_way(service: Service, path: str, options: Mapping[str, str]) -> dict[str, httpx.Response]:
    """The answers of this route to these options, by the way they came."""
    post, field = service.client.post, ROUTES[path][0]
    ways = {"form": await post(path, files={field: PHOTO}, data=options)}
    if path == removebg.PATH:
        told = {"image_file_b64": ENCODED, **options}
        ways |= {"urlencoded": await post(path, data=told), "JSON": await post(path, json=told)}
    else:
        ways["query"] = await post(path, files={field: PHOTO}, params=options)
    if path.startswith("/v1/"):
        headers = {"content-type": "image/png"}
        ways["query, raw body"] = await post(path, content=PHOTO, headers=headers, params=options)
    return ways


@pytest.mark.parametrize("blank", ["", "  ", "\t"])
@pytest.mark.parametrize("path", ROUTES)
async def test_form_with_everything_left_blank_is_one_without_options(
    running: Running, path: str, blank: str
) -> None:
    async with running(finds_standing) as service:
        plain = await every_way(service, path, {})
        answers = await every_way(service, path, dict.fromkeys(ROUTES[path][1], blank))
        for way, answer in answers.items():
            assert answer.status_code == 200, (way, answer.text)
            assert answer.content == plain[way].content, way


async def test_blank_option_leaves_the_others_as_they_are(running: Running) -> None:
    async with running(finds_standing) as service:
        for options in ({"background": "", "blur": "30"}, {"background": "red", "blur": " "}):
            for way, answer in (await every_way(service, "/v1/cutout", options)).items():
                assert answer.status_code == 200, (way, answer.text)


SPELLINGS = {
    "/v1/cutout": [
        ({"format": "jpeg"}, "image/jpeg"),
        ({"format": "JPG"}, "image/jpeg"),
        ({"format": "PNG", "quality": "Standard"}, "image/png"),
        ({"format": "WebP", "background": "rgba(255, 0, 0, 0.5)"}, "image/webp"),
        ({"background": "transparent", "blur": "20"}, "image/png"),
        ({"background": "rgb(30 144 255 / 50%)"}, "image/png"),
    ],
    removebg.PATH: [
        ({"format": "jpeg"}, "image/jpeg"),
        ({"format": "PNG", "bg_color": "rgb(1, 2, 3)"}, "image/png"),
        ({"bg_color": "transparent", "type": "PERSON"}, "image/png"),
        ({"bg_color": "RGB(1,2,3)"}, "image/jpeg"),
    ],
}


@pytest.mark.parametrize("path", SPELLINGS)
async def test_usual_spellings_are_understood(running: Running, path: str) -> None:
    async with running(finds_standing) as service:
        for options, kind in SPELLINGS[path]:
            for way, answer in (await every_way(service, path, options)).items():
                assert (answer.status_code, answer.headers["content-type"]) == (200, kind), (way, options)


@pytest.mark.parametrize("truth", ["on", "yes", "1", "true", "ON"])
@pytest.mark.parametrize("path", SPELLINGS)
async def test_crop_is_ticked_as_forms_tick_it(running: Running, path: str, truth: str) -> None:
    async with running(finds_standing) as service:
        for answer in (await every_way(service, path, {"crop": truth})).values():
            assert pixels(answer.content).shape[:2] == (BOX.height, BOX.width)


@pytest.mark.parametrize("truth", ["on", "yes", "1", "TRUE"])
async def test_mask_is_ticked_as_forms_tick_it(running: Running, truth: str) -> None:
    async with running(finds_standing) as service:
        for answer in (await every_way(service, rembg.PATH, {"om": truth})).values():
            assert pixels(answer.content).ndim == 2


async def test_transparent_is_no_background(running: Running) -> None:
    async with running(finds_standing) as service:
        plain = await every_way(service, "/v1/cutout", {})
        for name in ("transparent", "#00ff0000", "rgba(1,2,3,0)"):
            for way, answer in (await every_way(service, "/v1/cutout", {"background": name})).items():
                assert np.array_equal(pixels(answer.content), pixels(plain[way].content))


KINDS = [
    "",
    "application/x-www-form-urlencoded",
    "application/json",
    "image/png",
    "multipart/form-data; boundary=b",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ROUTES)
async def test_empty_body_is_a_missing_source(running: Running, path: str, kind: str) -> None:
    async with running(finds_standing) as service:
        for content in (b"", b"--b--\r\n" if "boundary" in kind else b""):
            answer = await service.client.post(
                path, content=content, headers={"content-type": kind} if kind else {}
            )
            (problem,) = answer.json()["errors"]
            assert (answer.status_code, problem["code"]) == (400, "missing_source")
            assert f"`{ROUTES[path][0]}`" in problem["detail"]


@pytest.mark.parametrize(
    "body", [{}, {"size": "auto"}, {"image_file_b64": ""}, {"image_file": "", "image_url": " "}]
)
async def test_removebg_without_a_photo_is_a_missing_source(running: Running, body: dict[str, str]) -> None:
    async with running(finds_standing) as service:
        answers = [
            await service.client.post(removebg.PATH, json=body),
            await service.client.post(removebg.PATH, data=body, headers=URLENCODED),
            await service.client.post(
                removebg.PATH, files={name: (None, text) for name, text in body.items()}
            ),
        ]
    assert {(each.status_code, each.json()["errors"][0]["code"]) for each in answers} == {
        (400, "missing_source")
    }


async def test_plus_that_became_a_space_is_named(running: Running) -> None:
    assert "+" in ENCODED
    body = f"image_file_b64={ENCODED}&size=auto"
    async with running(finds_standing) as service:
        wrong = await service.client.post(removebg.PATH, content=body, headers=URLENCODED)
        right = await service.client.post(removebg.PATH, content=body.replace("+", "%2B"), headers=URLENCODED)
    (problem,) = wrong.json()["errors"]
    assert (wrong.status_code, problem["code"]) == (400, "failed_to_read_image")
    assert "`image_file_b64` holds spaces" in problem["detail"]
    assert "%2B" in problem["detail"]
    assert right.status_code == 200


async def test_base64_for_urls_needs_no_escapes(running: Running) -> None:
    body = base64.urlsafe_b64encode(PHOTO).decode().rstrip("=")
    async with running(finds_standing) as service:
        for call in (
            {"content": f"image_file_b64={body}", "headers": URLENCODED},
            {"json": {"image_file_b64": body}},
            {"files": {"image_file_b64": (None, body)}},
        ):
            assert (await service.client.post(removebg.PATH, **call)).status_code == 200  # type: ignore[arg-type]
