"""The calls of remove.bg's documentation and its clients, only the address changed."""

from __future__ import annotations

import base64
import io
import zipfile

import httpx
import numpy as np
import pytest

from app.api.removebg import PATH, wants_json
from tests.support.images import pixels, png, portrait
from tests.support.person_image import BOX, PERSON, SIDE, alpha_of_standing, finds_standing, standing
from tests.support.services import Running

BESIDE = ~alpha_of_standing().astype(bool)
PHOTO = png(standing())
ENCODED = base64.b64encode(PHOTO).decode()
BEACH = np.zeros((8, 24, 3), np.uint8) + np.array((0, 200, 0), np.uint8)
AXIOS = "application/json, text/plain, */*"


async def asked(running: Running, **request: object) -> httpx.Response:
    async with running(finds_standing) as service:
        return await service.client.post(PATH, **request)  # type: ignore[arg-type]


async def sent(running: Running, files: dict[str, bytes] | None = None, **parameters: str) -> httpx.Response:
    """curl -F image_file=@photo.png -F name=value …"""
    return await asked(running, files={"image_file": PHOTO, **(files or {})}, data=parameters)


async def test_file_with_its_key_gives_the_person(running: Running) -> None:
    async with running(finds_standing, api_keys=["secret"]) as service:
        call = {"files": {"image_file": PHOTO}, "data": {"size": "auto"}}
        refused = await service.client.post(PATH, **call)
        answer = await service.client.post(PATH, **call, headers={"X-Api-Key": "secret"})
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (401, "auth_failed")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert np.array_equal(pixels(answer.content)[..., 3], alpha_of_standing())
    assert (pixels(answer.content)[~BESIDE][:, :3] == PERSON).all()


@pytest.mark.parametrize(
    "encoded",
    [ENCODED, base64.encodebytes(PHOTO).decode(), f" data:image/png;base64,{ENCODED}\r\n"],
    ids=["one line", "lines of 76", "data URL"],
)
@pytest.mark.parametrize("form", ["multipart", "urlencoded", "JSON"])
async def test_photo_in_base64_is_as_good_as_a_file(running: Running, form: str, encoded: str) -> None:
    parameters = {"image_file_b64": encoded, "size": "auto", "image_url": ""}
    call: dict[str, object] = {"data": parameters}
    if form == "multipart":
        call = {"files": {name: (None, value) for name, value in parameters.items()}}
    if form == "JSON":
        call = {"json": parameters | {"crop": False, "bg_color": None, "shadow_opacity": 100}}
    answer = await asked(running, **call)
    assert answer.status_code == 200
    assert np.array_equal(pixels(answer.content)[..., 3], alpha_of_standing())


async def test_photo_in_base64_may_be_as_large_as_the_upload_limit_allows(running: Running) -> None:
    noise = png(np.random.default_rng(0).integers(0, 256, (800, 700, 3), np.uint8))
    encoded = base64.b64encode(noise).decode()
    assert len(encoded) > 2_000_000  # Starlette's own limit for a field is 1 MiB.
    for call in ({"data": {"image_file_b64": encoded}}, {"files": {"image_file_b64": (None, encoded)}}):
        assert (await asked(running, **call)).status_code == 200


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        ("application/json", True),
        ("application/json; charset=utf-8", True),
        (AXIOS, False),
        ("*/*", False),
        ("image/*, application/json", False),
        ("", False),
    ],
)
def test_json_is_given_to_those_who_take_nothing_else(accept: str, json: bool) -> None:
    assert wants_json(accept) is json


async def test_json_holds_the_picture_and_where_the_person_is(running: Running) -> None:
    call = {"files": {"image_file": PHOTO}, "headers": {"accept": "application/json"}}
    for channels in ("rgba", "alpha"):
        data = (await asked(running, **call, data={"channels": channels})).json()["data"]
        picture = pixels(base64.b64decode(data.pop("result_b64")))
        assert picture.shape[:2] == (SIDE, SIDE)
        sides = {f"foreground_{side}": getattr(BOX, side) for side in ("top", "left", "width", "height")}
        assert data == sides


async def test_headers_are_remove_bgs_own(running: Running) -> None:
    answer = await sent(running, type_level="1")
    assert {
        name: answer.headers[name] for name in ("x-type", "x-width", "x-height", "x-credits-charged")
    } == {
        "x-type": "person",
        "x-width": "64",
        "x-height": "64",
        "x-credits-charged": "0",
    }
    assert answer.headers["x-foreground-left"] == "16"
    assert "x-type" not in (await sent(running, type_level="none")).headers


async def test_preview_has_a_quarter_of_a_megapixel(running: Running) -> None:
    large = png(portrait(600, 800))
    answer = await asked(running, files={"image_file": large}, data={"size": "preview"})
    assert pixels(answer.content).shape == (433, 577, 4)
    full = await asked(running, files={"image_file": large}, data={"size": "auto"})
    assert pixels(full.content).shape == (600, 800, 4)


async def test_colour_in_hex_or_by_name_lies_under_the_person(running: Running) -> None:
    solid = await sent(running, bg_color="81d4fa", format="png")
    assert (pixels(solid.content)[BESIDE] == (0x81, 0xD4, 0xFA)).all()
    half = await sent(running, bg_color="81d4fa77")
    assert half.headers["content-type"] == "image/png"
    assert (pixels(half.content)[BESIDE] == (0x81, 0xD4, 0xFA, 0x77)).all()
    named = await sent(running, bg_color="green", format="png")
    assert (pixels(named.content)[BESIDE] == (0, 128, 0)).all()


async def test_opaque_answer_is_a_jpeg_unless_another_format_is_asked_for(running: Running) -> None:
    answer = await sent(running, bg_color="green", format="auto")
    assert answer.headers["content-type"] == "image/jpeg"
    assert np.abs(pixels(answer.content)[:4].astype(int) - (0, 128, 0)).max() <= 5


async def test_picture_lies_under_the_person(running: Running) -> None:
    answer = await sent(running, {"bg_image_file": png(BEACH)}, format="png")
    assert (pixels(answer.content)[BESIDE] == (0, 200, 0)).all()
    assert (pixels(answer.content)[~BESIDE] == PERSON).all()


async def test_zip_holds_colours_and_alpha(running: Running) -> None:
    answer = await sent(running, format="zip")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["color.jpg", "alpha.png"]
        assert np.array_equal(pixels(archive.read("alpha.png")), alpha_of_standing())


async def test_alpha_alone_is_grey(running: Running) -> None:
    answer = await sent(running, channels="alpha")
    assert np.array_equal(pixels(answer.content), alpha_of_standing())


@pytest.mark.parametrize(
    ("margin", "shape"),
    [("", (32, 40, 4)), ("0", (32, 40, 4)), ("10%", (38, 48, 4)), ("20px 5% 2px 1px", (42, 43, 4))],
)
async def test_crop_has_margins(running: Running, margin: str, shape: tuple[int, ...]) -> None:
    answer = await sent(running, crop="true", crop_margin=margin)
    assert pixels(answer.content).shape == shape


async def test_person_is_looked_for_in_the_region_only(running: Running) -> None:
    answer = await sent(running, roi="0% 0% 50% 100%")
    alpha = pixels(answer.content)[..., 3]
    assert np.array_equal(alpha[:, :32], alpha_of_standing()[:, :32])
    assert not alpha[:, 32:].any()


async def test_person_is_scaled_and_positioned(running: Running) -> None:
    answer = await sent(running, scale="50%", position="50% 10%")
    alpha = pixels(answer.content)[..., 3]
    assert [int(answer.headers[f"x-foreground-{side}"]) for side in ("top", "left", "width", "height")] == [
        round(0.1 * (64 - 26)),
        16,
        32,
        26,
    ]
    assert (alpha[4:30, 16:48] == 255).all()
    assert alpha.sum() == 26 * 32 * 255


async def test_shadow_is_added(running: Running) -> None:
    below = BOX.top + BOX.height, BOX.left + BOX.width // 2
    alphas = [
        int(pixels((await sent(running, add_shadow="true", shadow_opacity=each)).content)[below][3])
        for each in ("0", "50", "100")
    ]
    assert 0 == alphas[0] < alphas[1] < alphas[2]
