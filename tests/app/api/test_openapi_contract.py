"""The service keeps what /openapi.json says: for requests that fit it, and for those that do not, by Schemathesis.

Its checks are all on; what one of them cannot know is said at `excused`, for that one case. CONTRACT_EXAMPLES in the
environment makes another, longer run of it: `make fuzz`.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from PIL import ImageColor
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from schemathesis.transport.serialization import Binary

from app.api.openapi import PHOTO_TYPES
from app.api.uploads import FORM
from app.inference.registry import STAND_IN
from app.main import create_app
from app.middleware.admission import GUARDED
from app.options import COLOUR
from app.settings import Settings
from tests.support.images import jpeg, png, portrait, saved
from tests.support.person_image import finds_standing, standing
from tests.support.socket_servers import served

EXAMPLES: Final = int(os.environ.get("CONTRACT_EXAMPLES", "20"))
IS_LONG: Final = "CONTRACT_EXAMPLES" in os.environ
KEY: Final = "correct horse"
# A person where `finds_standing` sees one; what is too large for it is refused as the document says it is.
PHOTOS: Final = (
    png(standing()),
    jpeg(standing(), orientation=6),
    saved(standing(), "WEBP"),
    png(portrait(9, 300)),
)
EXCLUDING: Final = (("background", "blur"), ("bg_color", "bg_image_file"))
MODELS: Final = [STAND_IN.name, STAND_IN.label]
# What depends on the photo, or on two options together.
NOT_OF_THE_REQUEST: Final = {
    "invalid_format",
    "roi_region_empty",
    "roi_exceeds_bounds",
    "invalid_roi",
    "unknown_foreground",
}

schemathesis.openapi.format("binary", st.sampled_from(PHOTOS))
schemathesis.openapi.format("byte", st.sampled_from([base64.b64encode(photo).decode() for photo in PHOTOS]))
schemathesis.openapi.format(
    COLOUR,
    st.sampled_from(sorted(ImageColor.colormap)) | st.from_regex(r"\A#?([0-9a-fA-F]{2}){3,4}\Z"),
)
for kind in PHOTO_TYPES:
    schemathesis.openapi.media_type(kind, st.sampled_from(PHOTOS))
bounded = settings(
    max_examples=EXAMPLES,
    derandomize=not IS_LONG,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def document(**chosen: Any) -> dict[str, Any]:
    """As it is sent: through JSON. But where fields of a form depend on one another, Schemathesis 4.32 does not heed
    it, and stumbles if they are files: it is told of a photo in a file alone, since base64 comes in JSON, too."""
    app = create_app(Settings(**chosen), finds_standing)
    told = json.loads(json.dumps(app.openapi()))
    for path in GUARDED:
        operation = told["paths"][path]["post"]
        form = operation["requestBody"]["content"][FORM]["schema"]
        form.pop("dependentSchemas", None)
        if form.pop("anyOf", None):
            form["required"] = ["image_file"]
            del form["properties"]["image_file_b64"]
        # Which models there are is known here.
        parameters = {each["name"]: each["schema"] for each in operation.get("parameters", [])}
        for options in (form["properties"], parameters):
            if path.startswith("/v1/") and "model" in options:
                options["model"]["enum"] = MODELS
    return told


@contextmanager
def ready(**chosen: Any) -> Iterator[str]:
    """Address of a service with these settings that is ready."""
    app = create_app(Settings(**chosen), finds_standing)
    with served(app) as address, httpx.Client(base_url=address) as client:
        ends = time.monotonic() + 30
        while client.get("/readyz").status_code != 200:
            assert app.state.load_failure is None
            assert time.monotonic() < ends
        yield address


def excused(case: schemathesis.Case, response: schemathesis.Response) -> list[Any]:
    """Checks that cannot hold for this answer."""
    body = case.body if isinstance(case.body, dict) else {}
    if response.status_code == 200:
        # Of a text that comes more than once the last counts, as forms with check boxes mean it; and a blank one is
        # an option that is not there.
        unlike = any(map(is_left_out_or_twice, (*body.values(), *holder(case.query).values())))
        return [negative_data_rejection] if unlike else []
    problems = response.json()["errors"]
    codes = {problem["code"] for problem in problems}
    # What may be a text or a file is sent as a text, even if it is the bytes of a file.
    if "invalid_bg_color" in codes and isinstance(body.get("background"), Binary):
        return [positive_data_acceptance]
    return [positive_data_acceptance] if codes & NOT_OF_THE_REQUEST else []


def is_left_out_or_twice(value: object) -> bool:
    return isinstance(value, list) or (isinstance(value, str) and not value.strip())


def settled(case: schemathesis.Case) -> schemathesis.Case:
    """Of options that exclude each other, in query and form, one is left in what is meant to be right."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return case
    for pair in EXCLUDING:
        there = [(part, name) for part in (case.body, case.query) for name in pair if name in holder(part)]
        for part, name in there[1:]:
            del part[name]
    return case


def holder(part: object) -> dict[str, Any]:
    return part if isinstance(part, dict) else {}


def judge(case: schemathesis.Case, address: str, headers: dict[str, str] | None = None) -> None:
    """Send it, and see what Schemathesis says of the answer."""
    transport = {"base_url": address, "headers": headers}
    response = settled(case).call(**transport)
    case.validate_response(
        response, headers=headers, excluded_checks=excused(case, response), transport_kwargs=transport
    )


@pytest.fixture(scope="module")
def open_to_all() -> Iterator[str]:
    with ready() as address:
        yield address


@pytest.fixture(scope="module")
def keyed() -> Iterator[str]:
    with ready(api_keys=KEY) as address:
        yield address


@schemathesis.openapi.from_dict(document()).parametrize()
@bounded
def test_service_keeps_its_contract(case: schemathesis.Case, open_to_all: str) -> None:
    judge(case, open_to_all)


@schemathesis.openapi.from_dict(document(api_keys=KEY)).parametrize()
@bounded
def test_service_with_keys_keeps_it_and_asks_for_them(case: schemathesis.Case, keyed: str) -> None:
    judge(case, keyed, {"X-Api-Key": KEY})


def of_another_status() -> dict[str, Any]:
    told = document()
    del told["paths"]["/v1/models"]["get"]["responses"]["200"]
    return told


def of_another_shape() -> dict[str, Any]:
    told = document()
    told["components"]["schemas"]["ModelItem"]["properties"]["input_size"] = {"type": "string"}
    return told


BROKEN: Final = {
    "requests without authentication": lambda: document(api_keys=KEY),
    "Undocumented status code": of_another_status,
    "violates schema": of_another_shape,
}


@pytest.mark.parametrize("complaint", BROKEN)
def test_broken_contract_is_noticed(open_to_all: str, complaint: str) -> None:
    case = schemathesis.openapi.from_dict(BROKEN[complaint]())["/v1/models"]["GET"].Case()
    with pytest.raises(FailureGroup, match=complaint):
        judge(case, open_to_all, {"X-Api-Key": KEY})
