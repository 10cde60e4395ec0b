"""`subject`: everybody or the main one alone, in mattes and cut-outs, and how many the headers tell of."""

from __future__ import annotations

import httpx
import numpy as np
import pytest

from app.imaging.crop import Box
from app.inference.backends.base import Alphas, Batch
from app.inference.predictor import Predict
from tests.support.images import jpeg, pixels, png
from tests.support.person_image import (
    BOX,
    SIDE,
    alpha_of_standing,
    finds_nobody,
    finds_standing,
    standing,
)
from tests.support.services import Running

CHILD = Box(40, 4, 16, 8)
BESIDE = CHILD.part
MAIN = {"subject": "main"}


def finds_two(batch: Batch) -> Alphas:
    """Finds the person in BOX and a smaller one in CHILD, whatever the photo; mirrored in a mirror image."""
    alphas = np.array(finds_standing(batch))
    alphas[:, *BESIDE] = 1
    alphas[1::2] = alphas[1::2, :, ::-1]
    return alphas


def box_in(answer: httpx.Response) -> Box:
    return Box(*(int(answer.headers[f"x-foreground-{side}"]) for side in ("top", "left", "height", "width")))


async def made(
    running: Running,
    route: str,
    options: dict[str, str],
    predict: Predict = finds_two,
    photo: bytes | None = None,
) -> httpx.Response:
    async with running(predict) as service:
        files = {"image": photo or png(standing())}
        return await service.client.post(f"/v1/{route}", files=files, data=options)


@pytest.mark.parametrize("options", [{}, {"subject": "all"}, {"subject": "ALL"}])
async def test_everybody_stays_by_default_and_is_counted(running: Running, options: dict[str, str]) -> None:
    answer = await made(running, "matte", options)
    expected = alpha_of_standing()
    expected[BESIDE] = 255
    assert answer.headers["x-subjects"] == "2"
    assert np.array_equal(pixels(answer.content), expected)


@pytest.mark.parametrize("route", ["matte", "cutout"])
@pytest.mark.parametrize("quality", ["standard", "high"])
async def test_main_subject_is_left_alone_and_the_others_are_still_counted(
    running: Running, route: str, quality: str
) -> None:
    answer = await made(running, route, {**MAIN, "quality": quality})
    made_alpha = pixels(answer.content)
    assert np.array_equal(made_alpha if route == "matte" else made_alpha[..., 3], alpha_of_standing())
    assert answer.headers["x-subjects"] == "2"
    assert answer.headers["x-foreground"] == "person"
    assert box_in(answer) == BOX


async def test_crop_is_to_the_main_subject(running: Running) -> None:
    answer = await made(running, "cutout", {**MAIN, "crop": "true"})
    assert (answer.headers["x-width"], answer.headers["x-height"]) == (str(BOX.width), str(BOX.height))
    assert (pixels(answer.content)[..., 3] == 255).all()


async def test_shadow_and_background_know_nothing_of_the_others(running: Running) -> None:
    options = {"background": "white", "shadow": "80"}
    alone = await made(running, "cutout", options, finds_standing)
    assert np.array_equal(
        pixels((await made(running, "cutout", options | MAIN)).content), pixels(alone.content)
    )
    assert not np.array_equal(pixels((await made(running, "cutout", options)).content), pixels(alone.content))


async def test_option_is_of_the_upright_photo(running: Running) -> None:
    """The network sees the photo upright, and so does whoever gets the answer."""
    answer = await made(running, "matte", MAIN, photo=jpeg(standing(), orientation=6))
    assert np.array_equal(pixels(answer.content), alpha_of_standing())


@pytest.mark.parametrize("options", [{}, MAIN])
async def test_where_nobody_is_none_are_counted(running: Running, options: dict[str, str]) -> None:
    for route in ("matte", "cutout"):
        answer = await made(running, route, options, finds_nobody)
        assert answer.status_code == 200
        assert answer.headers["x-subjects"] == "0"
        assert answer.headers["x-foreground"] == "none"
        assert (answer.headers["x-width"], answer.headers["x-height"]) == (str(SIDE), str(SIDE))


@pytest.mark.parametrize("route", ["matte", "cutout"])
async def test_other_word_is_refused_by_name(running: Running, route: str) -> None:
    answer = await made(running, route, {"subject": "largest"})
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["code"]) == (422, "invalid_subject")
    assert error["detail"] == "`subject` is one of all, main; 'largest' was sent."


@pytest.mark.parametrize(("path", "name"), [("/v1.0/removebg", "image_file"), ("/api/remove", "file")])
async def test_routes_of_other_services_keep_everybody(running: Running, path: str, name: str) -> None:
    async with running(finds_two) as service:
        answer = await service.client.post(path, files={name: png(standing())})
    assert answer.headers["x-subjects"] == "2"
    assert (pixels(answer.content)[..., 3][BESIDE] == 255).all()
