"""What programs made for rembg's server send, as their HTTP libraries write it, and what they read of the answer.

The calls are those of rembg's own documentation, of an add-on for Blender, of programs in Python, Node and
TypeScript, and of n8n's HTTP node, as their sources stood in November 2026.
"""

from __future__ import annotations

import json

import httpx
import numpy as np
import pytest

from app.api.rembg import DOCS_PATH, PATH
from tests.app.api.client_calls import Call, file, form_call, text
from tests.support.images import pixels, png
from tests.support.person_image import alpha_of_standing, finds_standing, standing
from tests.support.services import Running

PHOTO = png(standing())
ADDRESS = "https://example.com/me.jpg"


def curl() -> Call:
    """curl -s -F file=@input.jpg"""
    photo = file("file", "input.jpg", PHOTO, "Content-Type: image/jpeg")
    return form_call("curl", "-" * 24 + "1f" * 8, photo, headers={"Accept": "*/*"})


def blender() -> Call:
    """requests.post(…, files={"file": f})"""
    return form_call("Blender", "a2" * 16, file("file", "0001.png", PHOTO))


def fetch() -> Call:
    """A Blob, named by the program, and the model after it."""
    photo = file("file", "image.png", PHOTO, "Content-Type: application/octet-stream")
    return form_call("fetch", "----formdata-undici-018374650912", photo, text("model", "isnet-general-use"))


def node_plugin() -> Call:
    """A form written by hand, with all that rembg 2.0.86 knows; extras are in the query, as its server wants them."""
    tuned = {"model": "bria-rmbg", "a": "true", "af": "240", "ab": "10", "ae": "10", "ppm": "true"}
    tuned |= {"dc": "true", "vm": "true", "om": "false"}
    photo = file("file", "image.png", PHOTO, "Content-Type: image/png")
    parts = [photo, *(text(*each) for each in tuned.items())]
    query = "?" + str(httpx.QueryParams({"extras": json.dumps({"sam_prompt": []})}))
    return form_call("Node", "----RembgPlugin9x2k1f", *parts, query=query)


def n8n() -> Call:
    """The HTTP node with a binary field, and the model in the address."""
    photo = file("file", "me.png", PHOTO, "Content-Type: image/png")
    boundary = "-" * 26 + "84" * 12
    return form_call("n8n", boundary, photo, query="?model=isnet-general-use")


def mask_in_python() -> Call:
    """requests writes Python's True."""
    photo = file("file", "image.png", PHOTO, "Content-Type: image/png")
    parts = [text("model", "sam"), text("om", "True"), text("ppm", "True"), photo]
    query = "?" + str(httpx.QueryParams({"extras": json.dumps({"sam_prompt": [{"type": "point"}]})}))
    return form_call("Python, mask", "0d" * 16, *parts, query=query)


def mask_in_typescript() -> Call:
    photo = file("file", "blob", PHOTO, "Content-Type: image/png")
    parts = [text("model", "birefnet-general-lite"), text("om", "true"), text("ppm", "true"), photo]
    return form_call("TypeScript, mask", "----formdata-undici-091827364550", *parts)


CUTOUTS = [curl(), blender(), fetch(), node_plugin(), n8n()]
MASKS = [mask_in_python(), mask_in_typescript()]


def named(call: Call) -> str:
    return call.client


async def answered(running: Running, call: Call, **settings: object) -> httpx.Response:
    async with running(finds_standing, **settings) as service:
        return await call.send(service.client, PATH)


@pytest.mark.parametrize("call", CUTOUTS, ids=named)
async def test_cutout_is_a_png(running: Running, call: Call) -> None:
    answer = await answered(running, call)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert np.array_equal(pixels(answer.content)[..., 3], alpha_of_standing())


@pytest.mark.parametrize("call", MASKS, ids=named)
async def test_mask_is_grey(running: Running, call: Call) -> None:
    answer = await answered(running, call)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert np.array_equal(pixels(answer.content), alpha_of_standing())


async def test_server_is_found_by_its_documentation(running: Running) -> None:
    """rembg's server shows its documentation at /api, and programs ask for it to see whether the server is there."""
    async with running() as service:
        found = await service.client.get(DOCS_PATH, headers={"Accept": "*/*"})
        assert found.status_code == 200
        assert found.content == (await service.client.get("/docs")).content
        slashed = await service.client.get(f"{DOCS_PATH}/")
        assert slashed.next_request is not None
        assert slashed.next_request.url.path == DOCS_PATH


async def test_documentation_is_open_until_it_is_protected(running: Running) -> None:
    async with running(api_keys="one") as service:
        assert (await service.client.get(DOCS_PATH)).status_code == 200
    async with running(api_keys="one", protect="ui") as service:
        assert (await service.client.get(DOCS_PATH)).status_code == 401


@pytest.mark.parametrize("query", [f"?url={ADDRESS}", f"?url={ADDRESS}&model=u2net&a=true", ""])
async def test_address_is_not_fetched_and_what_to_do_is_said_where_they_look(
    running: Running, query: str
) -> None:
    """They show `detail` of the JSON, as FastAPI writes it."""
    async with running() as service:
        answer = await service.client.get(PATH + query)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    told = answer.json()
    assert "not fetched" in told["detail"]
    assert "`file`" in told["detail"]
    assert told["errors"][0]["detail"] == told["detail"]


REFUSED = [
    form_call("no photo", "x", text("model", "u2net")),
    form_call("address", "x", text("url", ADDRESS)),
    form_call("other name", "x", file("image", "me.png", PHOTO)),
    form_call("no picture", "x", file("file", "me.txt", b"Hello")),
    form_call("bad option", "x", file("file", "me.png", PHOTO), text("om", "perhaps")),
]


@pytest.mark.parametrize("call", REFUSED, ids=named)
async def test_refusals_can_be_read_as_fastapis(running: Running, call: Call) -> None:
    answer = await answered(running, call)
    assert 400 <= answer.status_code < 500
    assert int(answer.headers["content-length"]) == len(answer.content)
    told = answer.json()
    assert told["detail"] == told["errors"][0]["detail"]


async def test_refusals_of_the_layers_before_can_be_read_too(running: Running) -> None:
    refused = await answered(running, curl(), api_keys="one")
    large = await answered(running, curl(), max_upload_bytes=1024, max_pixels=1000)
    assert [answer.status_code for answer in (refused, large)] == [401, 413]
    for answer in (refused, large):
        assert answer.json()["detail"] == answer.json()["errors"][0]["detail"]


async def test_other_routes_answer_in_one_shape_only(running: Running) -> None:
    async with running() as service:
        answer = await service.client.post("/v1/cutout")
    assert answer.json().keys() == {"errors", "request_id"}
