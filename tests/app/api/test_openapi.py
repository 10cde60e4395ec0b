from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from app.api import openapi
from app.api.openapi import BINARY
from app.api.rembg import PATH as REMBG
from app.api.rembg import RembgOptions
from app.api.removebg import PATH as REMOVEBG
from app.api.removebg_options import RemovebgOptions
from app.errors import ClientGone, NotReady, ServiceError, UnreadableImage
from app.main import create_app
from app.options import CutoutOptions, MatteOptions
from app.settings import Settings
from tests.support.networks import mean_colour

UPLOADS = ["/v1/matte", "/v1/cutout", REMOVEBG, REMBG]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """As it is sent: through JSON, so that nothing in it is of Python alone."""
    return json.loads(json.dumps(create_app(Settings(), mean_colour).openapi(), allow_nan=False))


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def nodes(value: object) -> Iterator[dict[str, Any]]:
    """Every object in it."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(each)


def kinds(kind: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for each in kind.__subclasses__():
        yield each
        yield from kinds(each)


def test_document_has_the_form_that_openapi_prescribes(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert {"title", "version"} <= document["info"].keys()
    names = Counter(operation["operationId"] for _, operation in operations(document))
    assert max(names.values()) == 1
    for name, operation in operations(document):
        assert operation["summary"], name
        assert "200" in operation["responses"], name
        for status, response in operation["responses"].items():
            assert 100 <= int(status) < 600
            assert response["description"], (name, status)
            for header in response.get("headers", {}).values():
                assert header["schema"] == {"type": "string"}
        parameters = [(each["name"], each["in"]) for each in operation.get("parameters", [])]
        assert len(parameters) == len(set(parameters)), name
        assert all("schema" in each for each in operation.get("parameters", [])), name


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = {node["$ref"] for node in nodes(document) if "$ref" in node}
    assert "#/components/schemas/ErrorBody" in references
    for reference in references:
        found: Any = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


@pytest.mark.parametrize("path", UPLOADS)
def test_upload_is_described_with_its_bodies_and_answers(document: dict[str, Any], path: str) -> None:
    operation = document["paths"][path]["post"]
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert operation["requestBody"]["required"]
    assert set(form.get("required", [])) <= form["properties"].keys()
    assert operation["responses"]["200"]["content"].keys() >= {"image/png"}
    errors = {status: each for status, each in operation["responses"].items() if status != "200"}
    assert {"400", "401", "408", "413", "429", "500", "503", "504"} <= errors.keys()
    for status, response in errors.items():
        content = response["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/ErrorBody"}
        (example,) = content["example"]["errors"]
        assert example.keys() == {"title", "code", "detail"}
        assert ("Retry-After" in response.get("headers", {})) == (status in ("429", "503"))


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/v1/matte", {*MatteOptions.model_fields}),
        ("/v1/cutout", {*CutoutOptions.model_fields}),
        (REMOVEBG, {*RemovebgOptions.model_fields}),
        (REMBG, {*RembgOptions.model_fields}),
    ],
)
def test_every_option_is_described(document: dict[str, Any], path: str, options: set[str]) -> None:
    operation = document["paths"][path]["post"]
    properties = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert options <= properties.keys()
    assert all(properties[name]["description"] for name in options)
    if "parameters" in operation:
        assert {each["name"] for each in operation["parameters"]} == options


def test_background_is_a_text_in_the_query_and_a_file_too_in_the_form(document: dict[str, Any]) -> None:
    cutout = document["paths"]["/v1/cutout"]["post"]
    form = cutout["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert [each["type"] for each in form["background"]["anyOf"]] == ["string", "string"]
    assert form["background"]["anyOf"][1] == BINARY
    (query,) = (each for each in cutout["parameters"] if each["name"] == "background")
    assert query["schema"]["type"] == "string"


def test_every_error_code_is_named_under_its_status(document: dict[str, Any]) -> None:
    """But for the one that nobody reads: its client has left."""
    named = {
        (int(status), code)
        for path in UPLOADS[:2] + UPLOADS[3:]
        for status, response in document["paths"][path]["post"]["responses"].items()
        for code in response["description"].split("`")[1::2]
    }
    drop_in = document["paths"][REMOVEBG]["post"]["responses"]
    for kind in {*kinds(ServiceError)} - {ClientGone}:
        if "status" in vars(kind) or "code" in vars(kind):
            assert (kind.status, kind.code) in named or f"`{kind.code}`" in drop_in["400"]["description"]
    assert {"422", "415"}.isdisjoint(drop_in)


def test_problems_are_grouped_by_status_which_may_be_anothers() -> None:
    own = openapi.problems([UnreadableImage, NotReady])
    assert list(own) == [400, 503]
    assert own[503]["description"].endswith("(`not_ready`)")
    assert list(openapi.problems([UnreadableImage, NotReady], lambda kind: 400)) == [400]
