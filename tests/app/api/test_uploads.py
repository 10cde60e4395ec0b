from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message

from app.api.uploads import FIELDS_MAX, TEXT_MAX, Parts, content_type, read_parts, read_upload
from app.errors import ClientGone, MultipleSources, ServiceError
from app.middleware.error_responses import handle

FORM_OF_B = {"content-type": "multipart/form-data; boundary=b"}
JSON_TYPE = {"content-type": "application/json"}


async def parts(request: Request) -> Response:
    read = await read_parts(request)
    files = {name: [each.decode() for each in contents] for name, contents in read.files.items()}
    return JSONResponse({"texts": dict(read.texts), "files": files})


async def upload(request: Request) -> Response:
    read = await read_upload(request, ["colour", "ground"], files=["ground"], name="photo")
    ground = read.parts.file("ground")
    return JSONResponse(
        {
            "photo": read.photo.decode(),
            "options": dict(read.options),
            "ground": ground.decode() if ground else None,
        }
    )


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Of an app that says what it has read."""
    routes = [Route("/parts", parts, methods=["POST"]), Route("/upload", upload, methods=["POST"])]
    app = Starlette(routes=routes, exception_handlers={ServiceError: handle})
    app.state.settings = SimpleNamespace(max_upload_bytes=1_000_000)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as made:
        yield made


async def test_multipart_form_holds_texts_and_files(client: httpx.AsyncClient) -> None:
    files = [("a", b"one"), ("a", b"two"), ("b", b""), ("c", (None, "hällo")), ("c", (None, " last "))]
    answer = await client.post("/parts", files=files)
    assert answer.json() == {"texts": {"c": " last "}, "files": {"a": ["one", "two"], "b": [""]}}


async def test_urlencoded_form_holds_texts_of_any_size(client: httpx.AsyncClient) -> None:
    long = "+/=" * 500_000
    answer = await client.post("/parts", data={"a": long, "b": "", "c": ["one", "50% ä"]})
    assert answer.json() == {"texts": {"a": long, "b": "", "c": "50% ä"}, "files": {}}


async def test_json_holds_strings_numbers_and_truth_values(client: httpx.AsyncClient) -> None:
    answer = await client.post("/parts", json={"a": "x", "b": True, "c": 5, "d": 0.5, "e": None})
    assert answer.json()["texts"] == {"a": "x", "b": "true", "c": "5", "d": "0.5"}
    whole = await client.post("/parts", content=b'{"a": 5.0, "b": 1e3, "c": -0.0}', headers=JSON_TYPE)
    assert whole.json()["texts"] == {"a": "5", "b": "1000", "c": "0"}
    many = {f"option{index}": "[20px, {5%}, 3px]" for index in range(FIELDS_MAX)}
    assert (await client.post("/parts", json=many)).json()["texts"] == many


PART = b'--b\r\nContent-Disposition: form-data; name="photo"; filename="f"\r\n\r\n'
MALFORMED = {
    "array": (JSON_TYPE, b"[]"),
    "no JSON": (JSON_TYPE, b"{"),
    "no UTF-8": (JSON_TYPE, b'{"a": "\xff"}'),
    "nested": (JSON_TYPE, b'{"a": {"b": 1}}'),
    "list": (JSON_TYPE, b'{"a": ["b"]}'),
    "abyss": (JSON_TYPE, b"[" * 999),
    "many values": (JSON_TYPE, b'{"a": 0' + b', "a": 0' * 1_001 + b"}"),
    "number of a novel's length": (JSON_TYPE, b'{"a": ' + b"9" * 5_000 + b"}"),
    "half a letter as a name": (JSON_TYPE, b'{"\\ud800": []}'),
    "many fields": ({"content-type": "application/x-www-form-urlencoded"}, b"a=b&" * FIELDS_MAX + b"a=b"),
    "urlencoded, no UTF-8": ({"content-type": "application/x-www-form-urlencoded"}, b"a=\xff"),
    "no boundary": ({"content-type": "multipart/form-data"}, b"x"),
    "no form": (FORM_OF_B, b"nonsense"),
    "form that breaks off": (FORM_OF_B, PART + b"me\r\n--b\r\n"),
    "file that breaks off": (FORM_OF_B, PART + b"me"),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_body_is_refused(client: httpx.AsyncClient, name: str) -> None:
    headers, body = MALFORMED[name]
    answer = await client.post("/parts", content=body, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "invalid_form")


@pytest.mark.parametrize(
    "kind", ["application/json", "application/x-www-form-urlencoded", *FORM_OF_B.values(), ""]
)
async def test_empty_body_of_any_kind_holds_nothing(client: httpx.AsyncClient, kind: str) -> None:
    answer = await client.post("/parts", content=b"", headers={"content-type": kind})
    assert answer.json() == {"texts": {}, "files": {}}
    missing = await client.post("/upload", content=b"", headers={"content-type": kind})
    assert (missing.status_code, missing.json()["errors"][0]["code"]) == (400, "missing_source")


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\u3000"])
async def test_blank_option_is_one_left_out(client: httpx.AsyncClient, blank: str) -> None:
    blanks = {"colour": blank, "ground": blank}
    form = await client.post("/upload", files={"photo": b"me"}, data=blanks, params={"colour": "red"})
    assert form.json() == {"photo": "me", "options": {"colour": "red"}, "ground": None}
    call = {"content": b"me", "headers": {"content-type": "image/png"}}
    assert (await client.post("/upload", params=blanks, **call)).json()["options"] == {}


async def test_blank_file_of_an_option_is_one_left_out(client: httpx.AsyncClient) -> None:
    answer = await client.post("/upload", files={"photo": b"me", "colour": b"", "ground": b""})
    assert answer.json() == {"photo": "me", "options": {}, "ground": None}


async def test_of_a_text_that_comes_twice_the_last_counts_that_is_not_blank(
    client: httpx.AsyncClient,
) -> None:
    files = [("a", (None, "one")), ("a", (None, "two")), ("a", (None, " "))]
    twice = "a=one&a=two&a=+"
    urlencoded = {"content-type": "application/x-www-form-urlencoded"}
    for call in ({"files": files}, {"content": twice, "headers": urlencoded}):
        assert (await client.post("/parts", **call)).json()["texts"] == {"a": "two"}
    query = "colour=red&colour=blue&colour="
    answer = await client.post("/upload", params=query, files={"photo": b"me"})
    assert answer.json()["options"] == {"colour": "blue"}


async def test_multipart_form_is_bounded_in_fields_files_and_text(client: httpx.AsyncClient) -> None:
    for files in (
        [(f"f{index}", (None, "x")) for index in range(FIELDS_MAX + 1)],
        [("f", b"x")] * 5,
        [("f", (None, "x" * (TEXT_MAX + 1)))],
    ):
        answer = await client.post("/parts", files=files)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "invalid_form")


async def test_body_of_another_type_is_refused(client: httpx.AsyncClient) -> None:
    for kind in ("text/plain", "image/png", ""):
        answer = await client.post("/parts", content=b"x", headers={"content-type": kind})
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (415, "invalid_file_type")


def test_one_file_of_a_name_is_taken_and_empty_ones_do_not_count() -> None:
    assert Parts(files={"a": [b"", b"x", b""]}).file("a") == b"x"
    assert Parts(files={"a": [b""]}).file("a") is None
    assert Parts().file("a") is None
    with pytest.raises(MultipleSources, match="`a`"):
        Parts(files={"a": [b"x", b"y"]}).file("a")


async def test_photo_is_the_form_field_or_the_body(client: httpx.AsyncClient) -> None:
    form = await client.post("/upload", files={"photo": b"me"})
    raw = await client.post("/upload", content=b"me", headers={"content-type": "Image/JPEG; q=1"})
    assert form.json() == raw.json() == {"photo": "me", "options": {}, "ground": None}


async def test_options_come_in_the_query_and_in_the_form_which_wins(client: httpx.AsyncClient) -> None:
    asked = {"colour": "red", "ground": "sky"}
    form = await client.post(
        "/upload", params=asked, files={"photo": b"me", "ground": b""}, data={"colour": "blue"}
    )
    raw = await client.post("/upload", params=asked, content=b"me", headers={"content-type": "image/png"})
    assert form.json()["options"] == {"colour": "blue", "ground": "sky"}
    assert raw.json()["options"] == asked


async def test_option_that_may_be_a_file_is_one(client: httpx.AsyncClient) -> None:
    answer = await client.post("/upload", files={"photo": b"me", "ground": b"beach"})
    assert answer.json() == {"photo": "me", "options": {}, "ground": "beach"}


REFUSED = {
    "nothing": ({}, 400, "missing_source", "`photo`"),
    "empty file": ({"files": {"photo": b""}}, 400, "missing_source", "`photo` is empty"),
    "blank text": ({"files": {"photo": (None, " ")}}, 400, "missing_source", "`photo` is empty"),
    "text": ({"files": {"photo": (None, "me")}}, 400, "missing_source", "`photo` holds text, not a file"),
    "URL as the photo": ({"files": {"photo": (None, "HTTPS://x/a")}}, 400, "missing_source", "not fetched"),
    "another field": ({"files": {"image": b"me"}}, 400, "missing_source", "`photo`; 'image' was sent"),
    "empty body": (
        {"content": b"", "headers": {"content-type": "image/png"}},
        400,
        "missing_source",
        "is empty",
    ),
    "URL": ({"files": {"photo_url": (None, "http://x")}}, 400, "missing_source", "not fetched"),
    "two": ({"files": [("photo", b"me"), ("photo", b"you")]}, 400, "multiple_sources", "`photo`"),
    "body of no type": ({"content": b"me"}, 415, "invalid_file_type", "There was no Content-Type"),
    "urlencoded": ({"data": {"photo": "me"}}, 415, "invalid_file_type", "`photo`"),
    "JSON": ({"json": {"photo": "me"}}, 415, "invalid_file_type", "was 'application/json'"),
    "unknown option": (
        {"files": {"photo": b"me"}, "data": {"color": "red"}},
        422,
        "unknown_option",
        "'color'; there is `colour`, `ground`",
    ),
    "unknown file": ({"files": {"photo": b"me", "sky": b"x"}}, 422, "unknown_option", "there is `colour`"),
    "unknown in the query": (
        {"files": {"photo": b"me"}, "params": {"photo": "x"}},
        422,
        "unknown_option",
        "",
    ),
    "file as text": (
        {"files": {"photo": b"me", "colour": b"red"}},
        422,
        "invalid_option",
        "`colour` is text",
    ),
    "name of a novel's length": (
        {"files": {"photo": b"me"}, "params": {"x" * 5000: ""}},
        422,
        "unknown_option",
        f"'{'x' * 100}'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_upload_that_cannot_be_read_is_refused(client: httpx.AsyncClient, name: str) -> None:
    request, status, code, said = REFUSED[name]
    answer = await client.post("/upload", **request)
    (problem,) = answer.json()["errors"]
    assert (answer.status_code, problem["code"]) == (status, code)
    assert said in problem["detail"]
    assert len(problem["detail"]) < 300


async def photo_of(request: Request) -> object:
    return await read_upload(request, [])


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (photo_of, "image/png"),
        (photo_of, "multipart/form-data; boundary=b"),
        (read_parts, "application/json"),
    ],
)
async def test_client_that_leaves_during_the_upload_is_gone(
    read: Callable[[Request], Awaitable[object]], kind: str
) -> None:
    messages = iter([{"type": "http.request", "body": b"--b\r\n", "more_body": True}])

    async def receive() -> Message:
        return next(messages, {"type": "http.disconnect"})

    app = SimpleNamespace(state=SimpleNamespace(settings=SimpleNamespace(max_upload_bytes=1_000)))
    headers = [(b"content-type", kind.encode())]
    scope = {"type": "http", "method": "POST", "headers": headers, "query_string": b"", "app": app}
    with pytest.raises(ClientGone):
        await read(Request(scope, receive))


def test_content_type_has_no_parameters_and_small_letters() -> None:
    headers = [(b"content-type", b"Multipart/Form-Data; Boundary=X")]
    assert content_type(Request({"type": "http", "headers": headers})) == "multipart/form-data"
