"""What programs made for remove.bg send, as their HTTP libraries write it, and what they read of the answer.

The calls are those of remove.bg's documentation, of its clients for Ruby and Go, of packages for Python, Node and
PHP, of plug-ins for Paint.NET, Figma and Sanity, and of n8n's HTTP node, as their sources stood in November 2026.
"""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from app.api.removebg import ACCOUNT_PATH, IMPROVE_PATH, PATH
from tests.app.api.client_calls import Call, file, form_call, json_call, text, urlencoded_call
from tests.support.images import pixels, png
from tests.support.person_image import alpha_of_standing, finds_standing, standing
from tests.support.services import Running

PHOTO = png(standing())
ENCODED = base64.b64encode(PHOTO).decode()
KEY = "a key of ours"
OLD, NEW = {"X-Api-Key": KEY}, {"X-API-Key": KEY}
ONLY_JSON = {"Accept": "application/json"}


def curl(*fields: tuple[str, str]) -> Call:
    """curl -H 'X-API-Key: …' -F image_file=@file.jpg -F name=value"""
    photo = file("image_file", "file.jpg", PHOTO, "Content-Type: image/jpeg")
    parts = [photo, *(text(name, value) for name, value in fields)]
    return form_call("curl", "-" * 24 + "d7" * 8, *parts, headers=NEW | {"Accept": "*/*"})


def fetch() -> Call:
    """The documentation's sample for browsers and Node: a Blob without name or type, after the text."""
    photo = file("image_file", "blob", PHOTO, "Content-Type: application/octet-stream")
    return form_call(
        "fetch",
        "----formdata-undici-027183759105",
        text("size", "auto"),
        photo,
        headers=OLD | {"Accept": "*/*"},
    )


def python_package() -> Call:
    """removebg.RemoveBg(…).remove_background_from_img_file(…): all parameters, most with their defaults."""
    fields = {
        "size": "regular",
        "type": "auto",
        "type_level": "none",
        "format": "auto",
        "roi": "0 0 100% 100%",
        "crop": "false",
        "scale": "original",
        "position": "original",
        "channels": "rgba",
        "add_shadow": "false",
        "semitransparency": "true",
    }
    parts = [text(*each) for each in fields.items()]
    photo = file("image_file", "me.png", PHOTO)
    return form_call("python", "f8" * 16, *parts, photo, headers=OLD)


def python_package_in_base64() -> Call:
    """…remove_background_from_base64_img(…): without a file requests sends an urlencoded form."""
    return urlencoded_call(
        "python, base64", {"size": "regular", "roi": "0 0 100% 100%", "image_file_b64": ENCODED}, OLD
    )


def paint_net() -> Call:
    """.NET's MultipartFormDataContent: names without quotation marks, a boundary with them, a PNG called .jpg."""
    photo = "Content-Disposition: form-data; name=image_file; filename=file.jpg; filename*=utf-8''file.jpg"
    size = "Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=size"
    boundary = "-".join(["2f" * 4, "63" * 2, "4c" * 2, "9a" * 2, "0b" * 6])
    return form_call("Paint.NET", boundary, (photo, PHOTO), (size, b"auto"), headers=OLD, quoted=True)


def guzzle() -> Call:
    """PHP: each part says how long it is."""
    photo = file("image_file", "me.png", PHOTO, f"Content-Length: {len(PHOTO)}", "Content-Type: image/png")
    size = text("size", "auto", "Content-Length: 4")
    agent = {"User-Agent": "Mtownsend/RemoveBg (github.com/mtownsend5512/remove-bg)"}
    return form_call("PHP", "1c" * 20, photo, size, headers=NEW | agent)


def guzzle_in_base64() -> Call:
    return urlencoded_call("PHP, base64", {"image_file_b64": ENCODED, "size": "auto"}, NEW | ONLY_JSON)


def go_program() -> Call:
    """Go's multipart.Writer knows no types, and a map has no order: the photo first."""
    photo = file("image_file", "me.jpg", PHOTO, "Content-Type: application/octet-stream")
    parts = [
        text(name, value) for name, value in (("type", "person"), ("channels", "rgba"), ("size", "auto"))
    ]
    return form_call("Go", "5e" * 30, photo, *parts, headers=OLD | {"Accept-Encoding": "gzip"})


def unirest() -> Call:
    """The package remove.bg for Node, which wants JSON."""
    parts = text("size", "regular"), file("image_file", "me.jpg", PHOTO, "Content-Type: image/jpeg")
    return form_call("Node", "-" * 26 + "51" * 12, *parts, headers=OLD | ONLY_JSON)


def unirest_in_base64() -> Call:
    body = json.dumps({"image_file_b64": ENCODED, "size": "regular"}).encode()
    return json_call("Node, base64", body, OLD | ONLY_JSON)


def figma() -> Call:
    """A browser's FormData from a page that has no origin."""
    boundary = "----WebKitFormBoundary" + "7M" * 8
    headers = OLD | ONLY_JSON | {"Origin": "null"}
    return form_call("Figma", boundary, text("image_file_b64", ENCODED), headers=headers)


def sanity() -> Call:
    """axios in a browser: JSON, of which much is null."""
    body = {"image_file_b64": ENCODED, "size": "auto", "format": "png", "bg_color": None, "crop": False}
    headers = NEW | ONLY_JSON | {"Origin": "https://studio.example"}
    return json_call("Sanity", json.dumps(body).encode(), headers)


def n8n() -> Call:
    """The HTTP node with a binary field."""
    photo = file("image_file", "me.png", PHOTO, "Content-Type: image/png")
    boundary = "-" * 26 + "84" * 12
    headers = NEW | {"Accept": "application/json,text/html,text/*;q=0.9, image/*;q=0.8, */*;q=0.7"}
    return form_call("n8n", boundary, photo, text("size", "auto"), headers=headers)


PICTURES = [
    curl(("size", "auto")),
    fetch(),
    python_package(),
    python_package_in_base64(),
    paint_net(),
    guzzle(),
]
PICTURES += [go_program(), n8n()]
DATA = [guzzle_in_base64(), unirest(), unirest_in_base64(), figma(), sanity()]


def named(call: Call) -> str:
    return call.client


async def answered(running: Running, call: Call, path: str = PATH, **settings: object) -> httpx.Response:
    async with running(finds_standing, api_keys=[KEY], **settings) as service:
        return await call.send(service.client, path)


@pytest.mark.parametrize("call", PICTURES, ids=named)
async def test_those_who_take_pictures_get_the_cutout(running: Running, call: Call) -> None:
    answer = await answered(running, call)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert np.array_equal(pixels(answer.content)[..., 3], alpha_of_standing())


@pytest.mark.parametrize("call", DATA, ids=named)
async def test_those_who_take_json_get_it_in_base64(running: Running, call: Call) -> None:
    answer = await answered(running, call)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    picture = pixels(base64.b64decode(answer.json()["data"]["result_b64"]))
    assert np.array_equal(picture[..., 3], alpha_of_standing())
    assert [answer.headers[name] for name in ("x-width", "x-height")] == ["64", "64"]
    assert float(answer.headers["x-credits-charged"]) == 0


async def test_ruby_composes_its_png_from_the_zip(running: Running) -> None:
    """Faraday's parts name their length and encoding; the client tells a zip by its type, and looks for two names."""
    photo = file(
        "image_file",
        "me.jpg",
        PHOTO,
        f"Content-Length: {len(PHOTO)}",
        "Content-Type: image/jpeg",
        "Content-Transfer-Encoding: binary",
    )
    parts = text("size", "auto", "Content-Length: 4"), text("format", "zip", "Content-Length: 3"), photo
    encodings = {"Accept-Encoding": "gzip;q=1.0,deflate;q=0.6,identity;q=0.3", "Accept": "*/*"}
    call = form_call("Ruby", "-----------RubyMultipartPost-8f0e2c", *parts, headers=OLD | encodings)
    answer = await answered(running, call)
    assert "application/zip" in answer.headers["content-type"]
    assert (answer.headers["x-type"], answer.headers["x-width"]) == ("person", "64")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert {"color.jpg", "alpha.png"} <= {*archive.namelist()}


# --- What they do before and beside that


async def test_account_has_credits_left_by_whatever_they_count(running: Running) -> None:
    async with running(finds_standing, api_keys=[KEY]) as service:
        for headers in (OLD, NEW, {"Authorization": f"Bearer {KEY}"}):
            answer = await service.client.get(ACCOUNT_PATH, headers=headers | {"Accept": "*/*"})
            assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        attributes = answer.json()["data"]["attributes"]
    credits, api = attributes["credits"], attributes["api"]
    # The Ruby client takes these names and fails at any other; others read whole numbers of 32 bits.
    assert attributes.keys() == {"credits", "api"}
    assert credits.keys() == {"total", "subscription", "payg", "enterprise"}
    assert api.keys() == {"free_calls", "sizes"}
    assert all(10_000 < left < 2**31 for left in (*credits.values(), api["free_calls"]))
    assert credits["total"] == credits["subscription"] + credits["payg"] + credits["enterprise"]
    assert api["sizes"] == "all"


async def test_account_needs_no_key_where_there_are_none(running: Running) -> None:
    async with running() as service:
        assert (await service.client.get(ACCOUNT_PATH)).status_code == 200
        assert (await service.client.get(ACCOUNT_PATH, headers={"X-Api-Key": "any"})).status_code == 200


async def test_account_takes_nothing_from_the_rate(running: Running) -> None:
    async with running(finds_standing, api_keys=[KEY], rate_per_minute=1) as service:
        for _ in range(3):
            assert (await service.client.get(ACCOUNT_PATH, headers=OLD)).status_code == 200
        assert (await fetch().send(service.client, PATH)).status_code == 200
        limited = await fetch().send(service.client, PATH)
        assert (limited.status_code, limited.headers["x-ratelimit-limit"]) == (429, "1")
        assert int(limited.headers["x-ratelimit-reset"]) > 1_700_000_000
        assert (await service.client.get(ACCOUNT_PATH, headers=OLD)).status_code == 200


def ruby_reads(answer: httpx.Response) -> str:
    return answer.json()["errors"][0]["title"]


def php_reads(answer: httpx.Response) -> str:
    """implode(' - ', …), which takes texts only."""
    return " - ".join(answer.json()["errors"][0].values())


def node_reads(answer: httpx.Response) -> str:
    (error,) = answer.json()["errors"]
    return error["title"] + error["detail"]


@pytest.mark.parametrize("read", [ruby_reads, php_reads, node_reads])
@pytest.mark.parametrize("path", [PATH, ACCOUNT_PATH, IMPROVE_PATH])
async def test_refusals_can_be_read_as_remove_bgs(
    running: Running, path: str, read: Callable[[httpx.Response], str]
) -> None:
    method = "GET" if path == ACCOUNT_PATH else "POST"
    async with running(finds_standing, api_keys=[KEY]) as service:
        for headers in ({}, {"X-API-Key": "wrong"}):
            answer = await service.client.request(method, path, headers=headers)
            assert answer.status_code == 401
            assert "key" in read(answer)


@pytest.mark.parametrize("kind", ["multipart", "urlencoded", "JSON"])
async def test_url_is_refused_in_every_form(running: Running, kind: str) -> None:
    fields = {"image_url": "https://www.remove.bg/example.jpg", "size": "auto"}
    call = urlencoded_call("PHP", fields, NEW)
    if kind == "multipart":
        call = form_call("curl", "x", *(text(*each) for each in fields.items()), headers=NEW)
    if kind == "JSON":
        call = json_call("Node", json.dumps(fields).encode(), NEW | ONLY_JSON)
    answer = await answered(running, call)
    assert answer.status_code == 400
    assert "not fetched" in php_reads(answer)


@pytest.mark.parametrize("call", [curl(("tag", "batch_1")), sanity()], ids=named)
async def test_photos_for_training_are_not_taken(running: Running, call: Call) -> None:
    answer = await answered(running, call, IMPROVE_PATH)
    (problem,) = answer.json()["errors"]
    assert (answer.status_code, problem["code"]) == (404, "not_found")
    assert PATH in problem["detail"]


@pytest.mark.parametrize(("call", "page"), [(figma(), "null"), (sanity(), "https://studio.example")], ids=str)
async def test_pages_of_other_websites_reach_it_where_they_are_let_in(
    running: Running, call: Call, page: str
) -> None:
    """A page without an origin, as a plug-in of Figma has, is let in by `*` alone, and so without keys."""
    chosen: dict[str, Any] = (
        {"cors_origins": "*"} if page == "null" else {"cors_origins": page, "api_keys": [KEY]}
    )
    asked = {
        "Origin": page,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-api-key",
    }
    async with running(finds_standing, **chosen) as service:
        preflight = await service.client.options(PATH, headers=asked)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] in ("*", page)
        answer = await call.send(service.client, PATH)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] in ("*", page)
    assert "X-Credits-Charged" in answer.headers["access-control-expose-headers"]
