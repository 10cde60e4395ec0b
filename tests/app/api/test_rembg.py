"""The calls of rembg's server and its clients, only the address changed."""

from __future__ import annotations

import httpx
import numpy as np
import pytest

from app.api.rembg import PATH, read_output
from app.errors import InvalidOption
from app.imaging.output import CUTOUT, MATTE, Output
from app.inference.predictor import Predict
from app.values import Ground
from tests.support.images import pixels, png
from tests.support.person_image import PERSON, SIDE, alpha_of_standing, finds_nobody, finds_standing, standing
from tests.support.services import Running

BESIDE = ~alpha_of_standing().astype(bool)


async def sent(running: Running, predict: Predict = finds_standing, **call: object) -> httpx.Response:
    async with running(predict) as service:
        return await service.client.post(PATH, files={"file": png(standing())}, **call)  # type: ignore[arg-type]


async def test_file_gives_the_person_as_png(running: Running) -> None:
    answer = await sent(running)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert np.array_equal(pixels(answer.content)[..., 3], alpha_of_standing())
    assert (pixels(answer.content)[~BESIDE][:, :3] == PERSON).all()


@pytest.mark.parametrize("where", ["data", "params"])
async def test_only_the_mask(running: Running, where: str) -> None:
    answer = await sent(running, **{where: {"om": "true", "ppm": "true"}})
    assert np.array_equal(pixels(answer.content), alpha_of_standing())


@pytest.mark.parametrize("where", ["data", "params"])
async def test_background_colour(running: Running, where: str) -> None:
    white = await sent(running, **{where: {"bgc": "255,255,255,255"}})
    assert (pixels(white.content)[BESIDE] == 255).all()
    half = await sent(running, **{where: {"bgc": "0, 0, 255, 100"}})
    assert (pixels(half.content)[BESIDE] == (0, 0, 255, 100)).all()


async def test_model_and_its_tuning_change_nothing(running: Running) -> None:
    tuned = {
        "model": "u2net",
        "a": "true",
        "af": "240",
        "ab": "10",
        "ae": "10",
        "ppm": "false",
        "extras": "{}",
    }
    answers = [await sent(running, data=each) for each in ({}, tuned, tuned | {"om": "", "bgc": ""})]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.content for answer in answers}) == 1


async def test_nobody_is_an_empty_picture_not_an_error(running: Running) -> None:
    answer = await sent(running, finds_nobody)
    assert (answer.status_code, pixels(answer.content).shape) == (200, (SIDE, SIDE, 4))


async def test_url_is_refused_and_what_to_send_instead_is_said(running: Running) -> None:
    address = "https://example.com/me.jpg"
    async with running() as service:
        got = await service.client.get(PATH, params={"url": address})
        posted = await service.client.post(PATH, files={"url": (None, address)})
    refusals = {got: (405, "method_not_allowed"), posted: (400, "missing_source")}
    assert got.headers["allow"] == "POST"
    for answer, refusal in refusals.items():
        (problem,) = answer.json()["errors"]
        assert (answer.status_code, problem["code"]) == refusal
        assert "not fetched" in problem["detail"]
        assert "`file`" in problem["detail"]


async def test_keys_are_asked_for(running: Running) -> None:
    async with running(finds_standing, api_keys=["secret"]) as service:
        call = {"files": {"file": png(standing())}}
        refused = await service.client.post(PATH, **call)
        answer = await service.client.post(PATH, **call, headers={"Authorization": "Bearer secret"})
        assert (await service.client.get(PATH)).status_code == 401
    assert (refused.status_code, answer.status_code) == (401, 200)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"om": "perhaps"}, "invalid_option"),
        ({"bgc": "white"}, "invalid_bg_color"),
        ({"mask": "true"}, "unknown_option"),
    ],
)
async def test_bad_option_is_a_422(running: Running, options: dict[str, str], code: str) -> None:
    right = {"om": "true", "bgc": "1,2,3"}
    in_form = await sent(running, data=options)
    overruled = await sent(running, data=right, params=options)
    for answer in (in_form, overruled):
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, code)


@pytest.mark.parametrize(
    ("options", "output"),
    [
        ({}, CUTOUT),
        ({"om": "false"}, CUTOUT),
        ({"om": " True "}, MATTE),
        ({"om": "1", "bgc": "1,2,3,4"}, MATTE),
        ({"bgc": "1,2,3,4"}, Output(background=Ground((1, 2, 3), 4))),
        ({"bgc": "1,2,3"}, Output(background=Ground((1, 2, 3)))),
        ({"bgc": "0,0,0,0"}, CUTOUT),
        ({"bgc": " "}, CUTOUT),
    ],
)
def test_parameters_are_said_in_our_own_words(options: dict[str, str], output: Output) -> None:
    assert read_output(options) == output


@pytest.mark.parametrize(
    "text", ["1,2", "1,2,3,4,5", "1,2,3,256", "-1,2,3,4", "1.0,2,3,4", "1,,3,4", "\u0661,2,3,4", "9" * 5_000]
)
def test_colour_of_other_than_bytes_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="`bgc` is `r,g,b,a`"):
        read_output({"bgc": text})


def test_mask_is_wanted_or_not() -> None:
    with pytest.raises(InvalidOption, match="`om`"):
        read_output({"om": "both"})
