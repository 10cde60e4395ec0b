"""Options as people write them, and that all else follows from the one definition of each."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Annotated

import pytest
import typer
from pydantic import Field, ValidationError
from typer.testing import CliRunner

from app import client
from app.__main__ import cli
from app.api import openapi
from app.api.routes import read_output
from app.cli.photo_options import takes
from app.errors import InvalidOption, MultipleBackgrounds
from app.imaging.output import CUTOUT, Output
from app.main import create_app
from app.options import Colours, CutoutOptions, Format, MatteOptions, Options, Subject, whole_number
from app.settings import Settings
from app.values import WHITE, Ground, Margins
from model.quality import Quality
from tests.support.networks import mean_colour

MODELS = {"matte": MatteOptions, "cutout": CutoutOptions}


def test_no_option_is_the_cutout() -> None:
    assert read_output({}) == CUTOUT


@pytest.mark.parametrize(
    ("options", "output"),
    [
        ({"format": "webp"}, Output(format=Format.WEBP)),
        ({"format": " zip "}, Output(format=Format.ZIP)),
        ({"format": "WebP"}, Output(format=Format.WEBP)),
        ({"format": "PNG"}, CUTOUT),
        ({"format": "jpeg"}, Output(format=Format.JPG)),
        ({"format": "JPEG"}, Output(format=Format.JPG)),
        ({"background": "transparent"}, CUTOUT),
        ({"background": "Transparent", "format": "jpg"}, Output(format=Format.JPG)),
        ({"background": "#fff0", "blur": "5"}, Output(blur=5)),
        ({"background": "rgba(1, 2, 3, 0)"}, CUTOUT),
        ({"background": "rgb(1, 2, 3)"}, Output(background=Ground((1, 2, 3)))),
        ({"crop": "on"}, Output(crop=True)),
        ({"crop": "Yes"}, Output(crop=True)),
        ({"crop": "off", "margin": "5%"}, Output(crop=False, margin=Margins.parse("5%"))),
        ({"size": "FULL"}, CUTOUT),
        ({"background": "red"}, Output(background=Ground((255, 0, 0)))),
        ({"blur": "1"}, Output(blur=1)),
        ({"blur": " 100\n"}, Output(blur=100)),
        ({"crop": "true"}, Output(crop=True)),
        ({"crop": "1", "margin": "10% 3px"}, Output(margin=Margins.parse("10% 3px"))),
        ({"margin": "5%"}, Output(margin=Margins.parse("5%"))),
        ({"crop": "0"}, CUTOUT),
        ({"size": "full"}, CUTOUT),
        ({"subject": "all"}, CUTOUT),
        ({"subject": "Main"}, Output(subject=Subject.MAIN)),
        ({"size": "0.25"}, Output(size=0.25)),
        ({"size": ".5"}, Output(size=0.5)),
        ({"size": "0.30000000000000004"}, Output(size=0.1 + 0.2)),
        ({"size": "0.000000001"}, Output(size=1e-9)),
        ({"shadow": "0"}, CUTOUT),
        ({"shadow": "040"}, Output(shadow=40)),
    ],
)
def test_option_says_what_it_is(options: dict[str, str], output: Output) -> None:
    assert read_output(options) == output


REFUSED = [
    *(("format", text) for text in ("", "jpegs", "image/png", "gif")),
    *(("blur", text) for text in ("", "0", "101", "-1", "1.5", "1_0", "+5", "\u0661", "9" * 5000)),
    *(("crop", text) for text in ("", "maybe", "2", "true false")),
    *(("margin", text) for text in ("", "5", "51%", "501px", "-1px", "1px 2px 3px", "\u0661px")),
    *(("subject", text) for text in ("", "largest", "1")),
    *(("size", text) for text in ("", "0", "0.0", "-1", "nan", "inf", "1e9", "1_0", "4 MP", "\u0662")),
    *(("shadow", text) for text in ("", "-1", "101", "50%", "0x10")),
    *(("background", text) for text in ("", "#12", "12345", "rgb(1,2)", "no colour", "#ggg")),
]


CODES = {"background": "invalid_bg_color", "margin": "invalid_crop_margin"}


@pytest.mark.parametrize(("name", "text"), REFUSED, ids=lambda value: str(value)[:12])
def test_value_that_means_nothing_is_refused_by_name_and_repeated_in_short(name, text) -> None:
    with pytest.raises(InvalidOption) as caught:
        read_output({name: text})
    assert caught.value.code == CODES.get(name, f"invalid_{name}")
    assert f"`{name}`" in caught.value.detail
    assert repr(text[:100]) in caught.value.detail
    assert len(caught.value.detail) < 250


@pytest.mark.parametrize(
    ("options", "picture"),
    [
        ({"background": "red", "blur": "5"}, None),
        ({"background": "red"}, b"a file"),
        ({"blur": "5"}, b"a file"),
    ],
)
def test_one_background_excludes_another(options, picture) -> None:
    with pytest.raises(MultipleBackgrounds):
        read_output(options, picture)


def test_jpg_knows_no_transparency_and_is_laid_on_white() -> None:
    assert read_output({"format": "jpg"}).ground == WHITE
    assert read_output({"format": "jpg", "background": "#0000ff80"}).ground == Ground((127, 127, 255))
    assert read_output({"format": "jpg", "background": "red"}).ground == Ground((255, 0, 0))
    assert read_output({"format": "jpg"}, b"a file").ground == b"a file"
    assert read_output({"format": "jpg", "blur": "5"}).ground is None


def test_quality_is_standard_or_high() -> None:
    assert MatteOptions().quality is Quality.STANDARD
    for text in (" high ", "High"):
        assert MatteOptions.model_validate({"quality": text}).quality is Quality.HIGH
    for text in ("", "best"):
        with pytest.raises(InvalidOption, match="standard, high"):
            MatteOptions.model_validate({"quality": text})


def test_more_than_one_background_says_that_one_is_to_be_sent() -> None:
    for options, picture in (({"background": "red", "blur": "5"}, None), ({"background": "red"}, b"x")):
        with pytest.raises(MultipleBackgrounds, match="Send one background"):
            read_output(options, picture)


def test_numbers_and_truth_values_count_as_their_texts() -> None:
    options = CutoutOptions.model_validate({"blur": 5, "crop": True, "size": 2})
    assert (options.blur, options.crop, options.size) == (5, True, 2.0)
    for wrong in ({"blur": 101}, {"shadow": -1}, {"crop": 2}, {"blur": True}):
        with pytest.raises(InvalidOption):
            CutoutOptions.model_validate(wrong)


def test_options_do_not_change_and_there_are_no_others() -> None:
    with pytest.raises(ValidationError):
        CutoutOptions.model_validate({"colour": "red"})
    with pytest.raises(ValidationError):
        CutoutOptions().blur = 5  # type: ignore[misc]


class MoreOptions(CutoutOptions):
    """As the model is when somebody adds an option."""

    glow: Annotated[int, whole_number(0, 9), Field(description="A glow around the person.")] = 0


def test_new_field_is_all_that_routes_openapi_and_the_command_line_need() -> None:
    with pytest.raises(InvalidOption, match="`glow` is a whole number, 0 to 9; 'x' was sent") as caught:
        MoreOptions.model_validate({"glow": "x"})
    assert (caught.value.code, caught.value.title) == ("invalid_glow", "Invalid glow")
    schema = {
        "type": "integer",
        "minimum": 0,
        "maximum": 9,
        "default": 0,
        "description": "A glow around the person.",
    }
    told = openapi.upload(MoreOptions)
    form = told["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert form["glow"] == schema
    assert {"name": "glow", "in": "query", "required": False, "schema": schema} in told["parameters"]
    assert "`invalid_glow`" in openapi.problems([], options=MoreOptions)[422]["description"]
    typed: list[object] = []
    command = typer.Typer()
    command.command()(takes(MoreOptions)(lambda **given: typed.append(given)))
    runner = CliRunner()
    assert "A glow around the person." in runner.invoke(command, ["--help"], env={"COLUMNS": "200"}).output
    assert runner.invoke(command, ["--glow", "3", "--crop"]).exit_code == 0
    assert typed == [{"glow": "3", "crop": True}]


@pytest.mark.parametrize("route", MODELS)
def test_openapi_describes_each_option_in_query_and_form(route: str) -> None:
    operation = create_app(Settings(), mean_colour).openapi()["paths"][f"/v1/{route}"]["post"]
    form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert form.keys() - {"image"} == MODELS[route].model_fields.keys()
    assert {each["name"] for each in operation["parameters"]} == MODELS[route].model_fields.keys()
    for name, field in MODELS[route].model_fields.items():
        assert form[name]["description"] == field.description


@pytest.mark.parametrize(("command", "model"), [*MODELS.items(), ("bulk", CutoutOptions)])
def test_command_line_has_each_option(command: str, model: type[Options]) -> None:
    """But `model`, which a setting chooses there."""
    told = CliRunner().invoke(cli, [command, "--help"], env={"COLUMNS": "200"}).output
    for name in model.model_fields.keys() - {"model"}:
        assert f"--{name} " in told


@pytest.mark.parametrize("kind", [client.Client, client.AsyncClient])
@pytest.mark.parametrize("method", MODELS)
def test_python_client_takes_each_option(kind: type, method: str) -> None:
    """It imports nothing of the service, so its options are written out, and compared here."""
    of_client = {"matte": client.MatteOptions, "cutout": client.CutoutOptions}[method]
    keywords = inspect.signature(getattr(kind, method)).parameters["options"]
    assert keywords.annotation == f"Unpack[{of_client.__name__}]"
    assert of_client.__annotations__.keys() == MODELS[method].model_fields.keys()


def test_python_client_knows_the_same_choices() -> None:
    assert [*client.Format.__args__] == [*Format]
    assert [*client.Quality.__args__] == [*Quality]
    assert [*client.Color.__args__] == [*Colours]
    assert [*client.Subject.__args__] == [*Subject]


def test_document_of_the_api_tells_of_each_option() -> None:
    text = (Path(__file__).parents[2] / "docs" / "http-api.md").read_text(encoding="utf-8")
    rows = {name for row in re.findall(r"^\| (`.*?) \|", text, re.M) for name in re.findall(r"`(\w+)`", row)}
    assert CutoutOptions.model_fields.keys() <= rows
