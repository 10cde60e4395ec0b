from __future__ import annotations

import json

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app import errors
from app.errors import ServiceError
from app.middleware.error_responses import to_response


def leaves(kind: type[ServiceError]) -> list[type[ServiceError]]:
    below = kind.__subclasses__()
    return [leaf for sub in below for leaf in leaves(sub)] if below else [kind]


def test_tree_in_the_docstring_is_the_tree() -> None:
    drawn = {
        (name, int(status), code)
        for name, status, code, *_ in (
            line.split() for line in str(errors.__doc__).splitlines() if line[:6] == "      "
        )
        if status.isdecimal()
    }
    assert {(kind.__name__, kind.status, kind.code) for kind in leaves(ServiceError)} <= drawn


@pytest.mark.parametrize("kind", leaves(ServiceError), ids=lambda kind: kind.__name__)
def test_each_error_has_its_answer(kind: type[ServiceError]) -> None:
    answer = to_response(kind("because"))
    (item,) = json.loads(bytes(answer.body))["errors"]
    assert answer.status_code == kind.status
    assert item == {"title": kind.title, "code": kind.code, "detail": "because"}
    assert ("retry-after" in answer.headers) == (kind.status in (429, 503))


def test_option_of_the_wrong_kind_is_a_422() -> None:
    problem = {"loc": ("query", "size"), "msg": "must be a number", "type": "int"}
    answer = to_response(RequestValidationError([problem]))
    assert answer.status_code == 422
    assert "query.size: must be a number" in bytes(answer.body).decode()


def test_path_or_method_that_is_not_there_says_what_is() -> None:
    wrong_method = to_response(HTTPException(405, headers={"Allow": "POST"}))
    assert "This path takes POST only." in bytes(wrong_method.body).decode()
    assert "There is nothing at this path." in bytes(to_response(HTTPException(404)).body).decode()
    assert "no such file" in bytes(to_response(HTTPException(404, "There is no such file.")).body).decode()
    assert (
        "GET and HEAD only"
        in bytes(to_response(HTTPException(405, None, {"Allow": "HEAD, GET"})).body).decode()
    )
