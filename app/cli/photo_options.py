"""What is to be made of a photo, as it is typed: options made of the fields of `app.options`. Knows no pixels.

`takes` puts them into a command, `PhotoOptions` holds what was typed.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import typer

from app.cli import exit
from app.errors import InvalidOption, MultipleBackgrounds
from app.options import CutoutOptions, Format, MatteOptions, Schema

Command = TypeVar("Command", bound=Callable[..., None])
Given = dict[str, str | bool | bytes]
"""Options by their names, as they were typed."""

# Here MATTE_DEFAULT_MODEL chooses the model.
_ELSEWHERE: Final = frozenset({"model"})
# What is other than over HTTP.
_HELP: Final = {
    "background": "CSS colour (a name, hex, rgb()), or the path of a picture (with a dot or slash in it).",
    "format": "zip: color.jpg and alpha.png. By default what the name of -o says, else png.",
}


def takes(options: type[MatteOptions]) -> Callable[[Command], Command]:
    """Give a command an option for each field of the model, in the place of its `**typed`."""

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True).parameters.values()
        made = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(name, schema)
            )
            for name, schema in options.schemas().items()
            if name not in _ELSEWHERE
        ]
        first = [each for each in own if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        last = [each for each in own if each.kind is inspect.Parameter.KEYWORD_ONLY]

        def run(**typed: Any) -> None:
            command(**{name: value for name, value in typed.items() if value is not None})

        run.__signature__ = inspect.Signature([*first, *made, *last])  # type: ignore[attr-defined]
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run  # type: ignore[return-value]

    return decorate


def _option(name: str, schema: Schema) -> Any:
    """Its text is read by the model, whose words are the service's, too; typer shows what it may be."""
    described = _HELP.get(name, schema["description"].replace("`", ""))
    if schema["type"] == "boolean":
        return Annotated[bool | None, typer.Option(help=described)]
    shown = "<text>"
    if "enum" in schema:
        shown = f"<{'|'.join(schema['enum'])}>"
    if "maximum" in schema:
        shown = f"<{schema['minimum']} to {schema['maximum']}>"
    default = str(schema["default"]) if "default" in schema and name not in _HELP else False
    return Annotated[str | None, typer.Option(help=described, metavar=shown, show_default=default)]


@dataclass(frozen=True, slots=True)
class PhotoOptions:
    """What is to be made of each photo: a matte or a cut-out, by the options that were `given`."""

    output: Literal["matte", "cutout"]
    given: Given = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, output: Literal["matte", "cutout"], typed: Mapping[str, str | bool]) -> PhotoOptions:
        """With the picture that `--background` names. Ends the process where an option means nothing."""
        given: Given = dict(typed)
        if isinstance(named := typed.get("background"), str):
            given["background"] = _background(named)
        try:
            CutoutOptions.model_validate(given)
        except (InvalidOption, MultipleBackgrounds) as error:
            raise typer.BadParameter(error.detail) from None
        return cls(output, given)

    @property
    def values(self) -> CutoutOptions:
        """What they mean."""
        return CutoutOptions.model_validate(self.given)

    @property
    def of_matte(self) -> Given:
        """Those of the given options that a matte has, too."""
        return {name: value for name, value in self.given.items() if name in MatteOptions.model_fields}

    @property
    def format(self) -> Format | None:
        """None where the name of the file to write shall say it."""
        return self.values.format if "format" in self.given else None

    @property
    def suffix(self) -> str:
        """Of the files that are written."""
        return f".{self.values.format}"

    @property
    def doing(self) -> str:
        """What is being done, for the progress bar."""
        return "matting" if self.output == "matte" else "cutting out"

    def with_format(self, format: Format) -> PhotoOptions:
        """Written as `format`."""
        return replace(self, given={**self.given, "format": str(format)})

    def key(self, model: str) -> str:
        """All that decides what is made of a photo by `model`, as one line: the same key, the same result."""
        values = {"model": model, "output": self.output, "format": self.suffix, **self.values.changed()}
        return json.dumps(values, sort_keys=True, default=_shown)


def _shown(value: object) -> str:
    return f"sha256:{hashlib.sha256(value).hexdigest()}" if isinstance(value, bytes) else str(value)


def _background(value: str) -> str | bytes:
    """What `--background` means: a picture's bytes where it holds a dot or a slash, else a colour. Ends the process
    where the picture cannot be read."""
    if value.lower().startswith(("rgb(", "rgba(")) or ("." not in value and os.sep not in value):
        return value
    if "://" in value:
        why = "nothing is fetched from addresses; fetch it first, and name the file"
        exit.fail(f"--background cannot be read: {value}: {why}")
    try:
        return Path(value).read_bytes()
    except OSError as error:
        exit.fail(f"--background cannot be read: {value}: {error.strerror or error}")
