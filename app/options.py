"""The options of a matte and of a cut-out, each defined once: type, spelling, help, default.

All else follows from these models: what routes, the command line and bulk jobs accept, and what OpenAPI and `--help`
say of it. Tests hold the Python client and docs/http-api.md to them. To add an option, add a field here and draw it
in `app.imaging.render`. Knows no HTTP and no pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from app import values
from app.errors import InvalidOption, MultipleBackgrounds
from app.values import Ground, Margins
from model.quality import Quality

Schema = dict[str, Any]

# Of OpenAPI 3.1 itself there is none for colours; readers of the document take an unknown format as a remark.
COLOUR: Final = "css-color"
ONE_BACKGROUND: Final = "Send one background: a colour or a file in `background`, or `blur`."
MEDIA_TYPES: Final = {
    "png": "image/png",
    "webp": "image/webp",
    "avif": "image/avif",
    "jpg": "image/jpeg",
    "zip": "application/zip",
}


class Format(StrEnum):
    """Of the file that is answered; `zip` holds color.jpg and alpha.png."""

    PNG = "png"
    WEBP = "webp"
    AVIF = "avif"
    JPG = "jpg"
    ZIP = "zip"

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self]


class Subject(StrEnum):
    """Who stays in the answer: everybody, or the main subject alone."""

    ALL = "all"
    MAIN = "main"


class Colours(StrEnum):
    """Of the answer: the photo's own, with its colour profile, or sRGB."""

    KEEP = "keep"
    SRGB = "srgb"


@dataclass(frozen=True, slots=True)
class Written:
    """How an option is written: `read` makes its value of a text or raises ValueError, `expected` says in an error
    what would be right, `schema` is JSON Schema for the text.
    """

    read: Callable[[str], object]
    expected: str
    schema: Schema

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return BeforeValidator(self.validate).__get_pydantic_core_schema__(source, handler)

    def __get_pydantic_json_schema__(self, _core: Any, _handler: Any) -> Schema:
        return dict(self.schema)

    def validate(self, value: object, info: ValidationInfo) -> object:
        """The value of a text; numbers and truth values count as their texts. Raises InvalidOption."""
        if not isinstance(value, str | int):
            return value
        try:
            return self.read(str(value).strip())
        except ValueError:
            name = str(info.field_name)
            detail = f"`{name}` {self.expected}; {str(value)[:100]!r} was sent."
            raise InvalidOption(detail, option=name) from None


def one_of(kind: type[StrEnum], **also: StrEnum) -> Written:
    """A member of `kind`, in small letters or capitals; `also`: other names for some."""
    members = {str(each): each for each in kind} | also
    expected = f"is one of {', '.join(kind)}"
    return Written(values.choice(members), expected, {"type": "string", "enum": list(kind)})


def whole_number(least: int, most: int) -> Written:
    """From `least` to `most`."""
    schema = {"type": "integer", "minimum": least, "maximum": most}
    return Written(values.whole(least, most), f"is a whole number, {least} to {most}", schema)


def pattern(*either: str) -> Schema:
    """A text that one of these regular expressions describes in full."""
    return {"type": "string", "pattern": f"^(?:{'|'.join(either)})$"}


def optional(schema: Schema) -> Schema:
    """The same, and the empty text, which means that the option is not there."""
    if "pattern" in schema:
        return {**schema, "pattern": f"{schema['pattern'].removesuffix(')$')}|)$"}
    return {"anyOf": [schema, {"type": "string", "maxLength": 0}]} if "format" in schema else schema


def _plain(schema: Schema) -> None:
    """Without the titles that pydantic makes of names, and without defaults that nobody could write so."""
    for option in schema["properties"].values():
        option.pop("title", None)
        default = option.pop("default", None)
        if default not in (None, "") and isinstance(default, str) == (option.get("type") == "string"):
            option["default"] = default


class Options(BaseModel):
    """Options by their names. Whoever makes one of texts raises InvalidOption where a text means nothing."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", json_schema_extra=_plain)

    @classmethod
    def schemas(cls) -> dict[str, Schema]:
        """JSON Schema of each option's text, by its name, with help and default."""
        properties: dict[str, Schema] = cls.model_json_schema()["properties"]
        return properties

    @classmethod
    def problems(cls) -> list[InvalidOption]:
        """One for each option that can have a wrong value."""
        return [
            InvalidOption("", option=name)
            for name, field in cls.model_fields.items()
            if any(isinstance(each, Written) and each.read is not str for each in field.metadata)
        ]

    def changed(self) -> dict[str, Any]:
        """Values of those that are not left at their defaults."""
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        return {name: value for name, value in dict(self).items() if value != defaults[name]}


class MatteOptions(Options):
    """Of POST /v1/matte."""

    quality: Annotated[Quality, one_of(Quality)] = Field(
        default=Quality.STANDARD,
        description="`high` runs the network on the photo and on its mirror image and takes the mean: "
        "a little better, at twice the network's cost.",
    )
    model: Annotated[
        str, Written(str, "is text", pattern("[a-z0-9][a-z0-9._-]{0,63}(?:@[^@]{1,64})?", ""))
    ] = Field(
        default="",
        description="Which of the models in service (`/v1/models`): `name`, its newest version, or `name@version`. "
        "One that is not there is a 404.",
        examples=["portrait", "portrait@3"],
    )
    subject: Annotated[Subject, one_of(Subject)] = Field(
        default=Subject.ALL,
        description="`main` keeps the largest person, of several that are as large the one nearest the middle; "
        "people who touch count as one. `all` keeps everybody.",
    )


_COLOUR: Final = Written(
    values.background,
    "is a CSS colour (a name, hex, `rgb()`), `transparent`, or a file",
    {"type": "string", "format": COLOUR},
)
_TRUTH: Final = Written(values.boolean, "is `true` or `false`", {"type": "boolean"})
_MARGINS: Final = Written(
    Margins.parse,
    "is 1, 2 or 4 values, each `10%` (at most 50%) or `20px` (at most 500px)",
    pattern(values.MARGINS),
)
_MEGAPIXELS: Final = Written(
    values.megapixels, "is `full` or a number of megapixels", pattern(values.FULL, values.MEGAPIXELS)
)


class CutoutOptions(MatteOptions):
    """Of POST /v1/cutout. `background` may be a picture's file, too, as bytes. Raises MultipleBackgrounds."""

    format: Annotated[Format, one_of(Format, jpeg=Format.JPG)] = Field(
        default=Format.PNG,
        description="`jpg` knows no transparency and is laid on white; `zip` holds color.jpg and alpha.png.",
    )
    background: Annotated[Ground | bytes | None, _COLOUR] = Field(
        default=None,
        description="A CSS colour (`white`, `#00ff0080`, `rgb(30 144 255 / 50%)`) or `transparent`; in a form "
        "also a picture's file, laid under the person so that it covers everything.",
        examples=["white", "#1e90ff"],
        repr=False,
    )
    blur: Annotated[int | None, whole_number(1, 100)] = Field(
        default=None,
        description="The photo itself as background, blurred that strongly. Excludes `background`.",
    )
    crop: Annotated[bool, _TRUTH] = Field(default=False, description="Cut to the person.")
    margin: Annotated[Margins | None, _MARGINS] = Field(
        default=None,
        description="Space around the person, which means `crop`: one value, two (above and below, beside) or "
        "four (clockwise from the top), each `10%` of the person's size (at most 50%) or `20px` (at most 500px).",
        examples=["10%", "20px 5%"],
    )
    size: Annotated[float | None, _MEGAPIXELS] = Field(
        default=None,
        description="`full`, or the most megapixels of the answer.",
        examples=["full", "0.25", "4"],
        json_schema_extra={"default": values.FULL},
    )
    shadow: Annotated[int, whole_number(0, 100)] = Field(
        default=0, description="A soft shadow under the person, that dark in per cent."
    )
    color: Annotated[Colours, one_of(Colours)] = Field(
        default=Colours.KEEP,
        description="`keep`: the photo's own colour profile is in the answer; `srgb`: its colours are converted.",
    )

    @model_validator(mode="before")
    @classmethod
    def _margin_means_crop(cls, given: dict[str, Any]) -> dict[str, Any]:
        return given if given.get("margin") is None else {"crop": True, **given}

    @model_validator(mode="after")
    def _one_background(self) -> Self:
        if self.background is not None and self.blur is not None:
            raise MultipleBackgrounds(ONE_BACKGROUND)
        return self

    @property
    def ground(self) -> Ground | bytes | None:
        """What comes under the person, a blurred photo apart: files that know no transparency are laid on white."""
        opaque = self.format is Format.JPG and self.blur is None
        return values.on_white(self.background) if opaque else self.background

    @property
    def margins(self) -> Margins | None:
        """Around the person, if there is to be cut to him."""
        return (self.margin or Margins.parse("0")) if self.crop else None
