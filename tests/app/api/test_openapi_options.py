"""What the document says of an option is what reads it: whatever fits the one, the other takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageColor

from app.api import rembg, removebg_options
from app.api.removebg import in_json
from app.api.removebg_options import RemovebgOptions
from app.api.routes import read_output
from app.errors import ClientError, InvalidOption
from app.imaging.output import Output
from app.options import COLOUR, CutoutOptions, optional, pattern

CUTOUT_OPTIONS = CutoutOptions.schemas()
SCHEMAS = RemovebgOptions.schemas()

bounded = settings(max_examples=60, derandomize=True, database=None, deadline=None)
TYPES: dict[str, st.SearchStrategy[str]] = {
    "boolean": st.sampled_from(["true", "false"]),
    "string": st.text(st.characters(codec="ascii"), max_size=9),
}


def fitting(schema: Mapping[str, Any]) -> st.SearchStrategy[str]:
    """Texts that it admits."""
    if "anyOf" in schema:
        return st.one_of([fitting(each) for each in schema["anyOf"]])
    if schema.get("maxLength") == 0:
        return st.just("")
    if "enum" in schema:
        return st.sampled_from([str(each) for each in schema["enum"]])
    if "pattern" in schema:
        return st.from_regex(re.compile(schema["pattern"], re.ASCII), fullmatch=True)
    if schema.get("format") == COLOUR:
        return st.sampled_from(sorted(ImageColor.colormap)) | st.from_regex(
            r"#([0-9a-f]{2}){3,4}", fullmatch=True
        )
    if schema.get("type") == "integer":
        return st.integers(schema["minimum"], schema["maximum"]).map(str)
    return TYPES[schema.get("type", "string")]


@pytest.mark.parametrize("name", CUTOUT_OPTIONS)
def test_own_option_that_fits_is_read(name: str) -> None:
    @bounded
    @given(fitting(CUTOUT_OPTIONS[name]))
    def reads(text: str) -> None:
        assert isinstance(read_output({name: text}), Output)

    reads()


@pytest.mark.parametrize("name", SCHEMAS)
def test_parameter_of_removebg_that_fits_is_read(name: str) -> None:
    @bounded
    @given(fitting(SCHEMAS[name]))
    def reads(text: str) -> None:
        assert isinstance(removebg_options.read_output({name: text} if text else {}), Output)

    reads()


@bounded
@given(st.fixed_dictionaries({}, optional={name: fitting(schema) for name, schema in SCHEMAS.items()}))
def test_parameters_of_removebg_go_together(texts: dict[str, str]) -> None:
    written = {name: text for name, text in texts.items() if text.strip()}
    try:
        assert isinstance(removebg_options.read_output(written), Output)
    except InvalidOption:
        assert (written["format"], written["channels"]) == ("zip", "alpha")


@pytest.mark.parametrize("name", ["om", "bgc"])
def test_option_of_rembg_that_fits_is_read(name: str) -> None:
    @bounded
    @given(fitting(rembg.RembgOptions.schemas()[name]))
    def reads(text: str) -> None:
        assert isinstance(rembg.read_output({name: text}), Output)

    reads()


READERS = {
    read_output: CutoutOptions,
    removebg_options.read_output: RemovebgOptions,
    rembg.read_output: rembg.RembgOptions,
}


@bounded
@given(st.data(), st.sampled_from([*READERS]), st.text(max_size=30))
def test_any_text_is_read_or_refused(data: st.DataObject, read: Any, text: str) -> None:
    name = data.draw(st.sampled_from([*READERS[read].model_fields]))
    try:
        assert isinstance(read({name: text}), Output)
    except ClientError as error:
        assert len(error.detail) < 1_000  # noqa: PT017 - either will do


def test_pattern_is_of_all_the_text_and_optional_adds_the_empty_one() -> None:
    schema = pattern("a|b", "c")
    assert schema == {"type": "string", "pattern": "^(?:a|b|c)$"}
    assert optional(schema)["pattern"] == "^(?:a|b|c|)$"
    assert optional({"type": "string", "enum": ["a"]}) == {"type": "string", "enum": ["a"]}
    assert optional({"type": "string", "format": COLOUR})["anyOf"][1] == {"type": "string", "maxLength": 0}


def test_json_has_numbers_truth_values_and_null_besides() -> None:
    told = in_json("shadow_opacity", SCHEMAS["shadow_opacity"])
    assert {"type": "integer", "minimum": 0, "maximum": 100} in told["anyOf"]
    assert {"type": "null"} in told["anyOf"]
    assert told["description"] == SCHEMAS["shadow_opacity"]["description"]
    assert in_json("image_file_b64", {"type": "string"}) == {"type": "string"}
