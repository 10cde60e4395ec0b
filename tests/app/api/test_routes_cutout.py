"""POST /v1/cutout: each option on the pixels of the answer, and each value that is refused."""

from __future__ import annotations

import io
import zipfile

import httpx
import numpy as np
import pytest

from app.imaging.crop import Box
from app.inference.predictor import Predict
from tests.support.images import jpeg, pixels, plain, png, saved
from tests.support.networks import mean_colour
from tests.support.person_image import (
    BOX,
    PERSON,
    SIDE,
    alpha_of_standing,
    finds_nobody,
    finds_standing,
    standing,
)
from tests.support.services import Running

BESIDE = ~alpha_of_standing().astype(bool)
GREEN = np.zeros((8, 24, 3), np.uint8) + np.array((0, 200, 0), np.uint8)


def box_in(answer: httpx.Response) -> Box:
    return Box(*(int(answer.headers[f"x-foreground-{side}"]) for side in ("top", "left", "height", "width")))


async def cut(running: Running, predict: Predict = finds_standing, **request: object) -> httpx.Response:
    """The answer to a form with the photo, and what else `request` says."""
    files = {"image": png(standing()), **request.pop("files", {})}  # type: ignore[dict-item]
    async with running(predict) as service:
        return await service.client.post("/v1/cutout", files=files, **request)  # type: ignore[arg-type]


async def test_form_without_options_gives_the_person_as_png(running: Running) -> None:
    answer = await cut(running)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert np.array_equal(pixels(answer.content)[..., 3], alpha_of_standing())
    assert (pixels(answer.content)[~BESIDE][:, :3] == PERSON).all()
    assert box_in(answer) == BOX
    assert (answer.headers["x-foreground"], answer.headers["x-matte-confidence"]) == ("person", "1.000")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("where", ["form", "query", "query of a raw body"])
async def test_options_are_read_wherever_they_are(running: Running, where: str) -> None:
    option, photo = {"background": "#0000ff"}, png(standing())
    calls: dict[str, dict[str, object]] = {
        "form": {"files": {"image": photo}, "data": option},
        "query": {"files": {"image": photo}, "params": option},
        "query of a raw body": {"content": photo, "params": option, "headers": {"content-type": "image/png"}},
    }
    async with running(finds_standing) as service:
        answer = await service.client.post("/v1/cutout", **calls[where])  # type: ignore[arg-type]
    assert (pixels(answer.content)[BESIDE] == (0, 0, 255)).all()


@pytest.mark.parametrize(
    ("kind", "media_type", "shape"),
    [
        ("png", "image/png", (SIDE, SIDE, 4)),
        ("webp", "image/webp", (SIDE, SIDE, 4)),
        ("jpg", "image/jpeg", (SIDE, SIDE, 3)),
    ],
)
async def test_format_is_the_one_asked_for(
    running: Running, kind: str, media_type: str, shape: tuple[int, ...]
) -> None:
    answer = await cut(running, data={"format": kind})
    assert answer.headers["content-type"] == media_type
    assert pixels(answer.content).shape == shape
    assert np.abs(pixels(answer.content)[24, 36, :3].astype(int) - PERSON).max() <= 8  # lossy ones, too


async def test_jpg_is_laid_on_white(running: Running) -> None:
    plain_white = await cut(running, data={"format": "jpg"})
    half_blue = await cut(running, data={"format": "jpg", "background": "#0000ff80"})
    assert pixels(plain_white.content)[:4].min() >= 250
    assert np.abs(pixels(half_blue.content)[:4].astype(int) - (127, 127, 255)).max() <= 5


async def test_zip_holds_colours_and_alpha(running: Running) -> None:
    answer = await cut(running, data={"format": "zip"})
    assert answer.headers["content-type"] == "application/zip"
    assert (answer.headers["x-width"], answer.headers["x-height"]) == ("64", "64")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["color.jpg", "alpha.png"]
        assert np.array_equal(pixels(archive.read("alpha.png")), alpha_of_standing())


@pytest.mark.parametrize("name", ["white", "FFF", "#ffffff", "#fff"])
async def test_background_is_a_colour(running: Running, name: str) -> None:
    answer = await cut(running, data={"background": name})
    assert (pixels(answer.content)[BESIDE] == 255).all()
    assert pixels(answer.content).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_background_is_a_picture_that_covers_everything(running: Running, kind: str) -> None:
    answer = await cut(running, files={"background": saved(GREEN, kind)})
    shown = pixels(answer.content)
    assert shown.shape == (SIDE, SIDE, 3)
    assert np.abs(shown[BESIDE].astype(int) - (0, 200, 0)).max() <= 3  # JPEG and WebP are lossy
    assert (shown[~BESIDE] == PERSON).all()


async def test_empty_file_field_is_no_background(running: Running) -> None:
    answer = await cut(running, files={"background": b""}, data={"blur": "10"})
    assert answer.status_code == 200


async def test_blur_lays_the_person_on_the_blurred_photo(running: Running) -> None:
    answer = await cut(running, data={"blur": "50"})
    shown = pixels(answer.content)
    assert shown.shape == (SIDE, SIDE, 3)
    assert (shown[~BESIDE] == PERSON).all()
    assert (shown[BESIDE] == standing()[BESIDE]).all(), "a plain background stays as it is"


async def test_crop_and_margin_frame_the_person(running: Running) -> None:
    cropped = await cut(running, data={"crop": "true"})
    assert pixels(cropped.content).shape == (BOX.height, BOX.width, 4)
    assert (cropped.headers["x-width"], cropped.headers["x-height"]) == ("40", "32")
    assert box_in(cropped) == Box(0, 0, 32, 40)
    roomy = await cut(running, data={"margin": "25% 5px"})
    assert pixels(roomy.content).shape == (8 + 32 + 8, 5 + 40 + 5, 4)
    assert box_in(roomy) == Box(8, 5, 32, 40)


async def test_size_is_the_most_megapixels_of_the_answer(running: Running) -> None:
    small = await cut(running, data={"size": "0.001"})
    assert (small.headers["x-width"], small.headers["x-height"]) == ("31", "31")
    assert pixels(small.content).shape == (31, 31, 4)
    tiny = await cut(running, data={"size": "0.000000001"})
    assert pixels(tiny.content).shape == (1, 1, 4)
    for size in ("full", "500"):
        assert pixels((await cut(running, data={"size": size})).content).shape == (SIDE, SIDE, 4)


async def test_shadow_lies_under_the_person(running: Running) -> None:
    answer = await cut(running, data={"shadow": "100", "background": "white"})
    below = pixels(answer.content)[BOX.top + BOX.height, BOX.left + BOX.width // 2]
    assert below.max() < 200
    assert (pixels(answer.content)[~BESIDE] == PERSON).all()


async def test_high_quality_runs_the_network_twice(running: Running) -> None:
    async with running(finds_standing) as service:
        await service.client.post("/v1/cutout", files={"image": png(standing())}, data={"quality": "high"})
        assert await service.metric("matte_batch_size_sum") == 2
        assert await service.metric('matte_requests_total{route="/v1/cutout",status="200"}') == 1


async def test_photo_is_upright_before_it_is_cut(running: Running) -> None:
    async with running(mean_colour) as service:
        answer = await service.client.post(
            "/v1/cutout", files={"image": jpeg(plain(255, 60, 80), orientation=6)}
        )
    assert pixels(answer.content).shape == (80, 60, 4)


@pytest.mark.parametrize("options", [{}, {"crop": "true"}, {"margin": "20px", "shadow": "50"}])
async def test_nobody_found_is_an_all_but_empty_answer_of_the_whole_photo(
    running: Running, options: dict[str, str]
) -> None:
    answer = await cut(running, finds_nobody, data=options)
    assert (answer.status_code, answer.headers["x-foreground"]) == (200, "none")
    assert "x-foreground-top" not in answer.headers
    assert pixels(answer.content).shape == (SIDE, SIDE, 4)
    assert (pixels(answer.content)[..., 3] == 0).mean() > 0.9


@pytest.mark.parametrize(("kind", "side"), [("webp", 16_384), ("jpg", 65_501), ("zip", 65_501)])
async def test_photo_too_long_for_the_format_is_told_so(running: Running, kind: str, side: int) -> None:
    photo = png(plain(255, 1, side))
    async with running(mean_colour) as service:
        long = await service.client.post("/v1/cutout", files={"image": photo}, data={"format": kind})
        short = await service.client.post(
            "/v1/cutout", files={"image": photo}, data={"format": kind, "size": "0.01"}
        )
    (problem,) = long.json()["errors"]
    assert (long.status_code, problem["code"]) == (422, "invalid_format")
    assert f"{side} x 1 pixels" in problem["detail"]
    assert (short.status_code, short.headers["x-width"]) == (200, "10000")


REFUSED = [
    ({"data": {"format": "gif"}}, 422, "invalid_format"),
    ({"data": {"background": "nothing"}}, 422, "invalid_bg_color"),
    ({"data": {"background": "rgb(1,2)"}}, 422, "invalid_bg_color"),
    ({"data": {"background": "rgb(300,0,0)"}}, 422, "invalid_bg_color"),
    ({"data": {"background": "red", "blur": "5"}}, 422, "multiple_bg_sources"),
    ({"files": {"background": png(GREEN)}, "data": {"blur": "5"}}, 422, "multiple_bg_sources"),
    ({"files": {"background": png(GREEN)}, "params": {"background": "red"}}, 422, "multiple_bg_sources"),
    ({"files": {"background": b"no picture"}}, 415, "invalid_file_type"),
    ({"files": {"background": png(GREEN)[:-20]}}, 400, "failed_to_read_image"),
    ({"data": {"blur": "101"}}, 422, "invalid_blur"),
    ({"data": {"crop": "maybe"}}, 422, "invalid_crop"),
    ({"data": {"margin": "60%"}}, 422, "invalid_crop_margin"),
    ({"data": {"size": "nan"}}, 422, "invalid_size"),
    ({"data": {"shadow": "101"}}, 422, "invalid_shadow"),
    ({"data": {"quality": "best"}}, 422, "invalid_quality"),
    ({"data": {"quality": "high"}, "params": {"quality": "best"}}, 422, "invalid_quality"),
    ({"data": {"shadow": "5"}, "params": {"shadow": "101"}}, 422, "invalid_shadow"),
    ({"data": {"colour": "red"}}, 422, "unknown_option"),
    ({"files": {"logo": png(GREEN)}}, 422, "unknown_option"),
    ({"files": {"format": b"png"}}, 422, "invalid_option"),
]


@pytest.mark.parametrize(("request_", "status", "code"), REFUSED)
async def test_bad_option_is_refused(
    running: Running, request_: dict[str, object], status: int, code: str
) -> None:
    answer = await cut(running, **request_)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (status, code)


async def test_error_of_the_background_is_not_taken_for_the_photos(running: Running) -> None:
    for file in (png(GREEN)[:-20], b"no picture"):
        answer = await cut(running, files={"background": file})
        assert answer.json()["errors"][0]["detail"].startswith("Background: The ")
    async with running(max_pixels=5_000) as service:
        files = {"image": png(standing()), "background": png(plain(1, 100, 100))}
        answer = await service.client.post("/v1/cutout", files=files)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (413, "resolution_too_high")
    assert answer.json()["errors"][0]["detail"].startswith("Background: ")


async def test_two_backgrounds_are_one_too_many(running: Running) -> None:
    files = [("image", png(standing())), ("background", png(GREEN)), ("background", png(GREEN))]
    async with running() as service:
        answer = await service.client.post("/v1/cutout", files=files)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "multiple_sources")
    assert "`background`" in answer.json()["errors"][0]["detail"]
