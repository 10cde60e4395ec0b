"""What OpenAPI says of the bodies of the routes that take photos. It is text; nothing here acts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from app.option_schemas import BINARY, Schema
from app.uploads import FIELD, FORM


def upload(
    options: Mapping[str, Schema],
    *,
    name: str = FIELD,
    files: Mapping[str, Schema] | None = None,
    excluding: Sequence[str] = (),
) -> Schema:
    """A photo as form field `name` or as the body itself, with options in the form or the query, of which those
    `excluding` each other do not come together; in the query, too, which OpenAPI has no words for."""
    properties = {name: BINARY} | dict(options) | dict(files or {})
    schema: Schema = {"type": "object", "required": [name], "properties": properties}
    return {
        "parameters": [
            {"name": each, "in": "query", "required": False, "schema": schema}
            for each, schema in options.items()
        ],
        "requestBody": {
            "required": True,
            "description": f"The photo as form field `{name}`, or as the body itself with its own content type.",
            "content": {
                FORM: {"schema": _closed(schema, excluding)},
                **{kind: {"schema": BINARY} for kind in ("image/jpeg", "image/png", "image/webp")},
            },
        },
    }


def form(
    options: Mapping[str, Schema],
    *,
    files: Collection[str],
    photos: Sequence[str],
    excluding: Sequence[str] = (),
    without_files: Mapping[str, Callable[[str, Schema], Schema]] | None = None,
) -> Schema:
    """A form of options and files. It holds one of `photos`, and not all of those `excluding` each other.

    `without_files`: content types in which the options may come, too, but no files, and what becomes of an option's
    name and schema there.
    """
    content = {FORM: {"schema": _with_photo(dict.fromkeys(files, BINARY) | dict(options), photos, excluding)}}
    for kind, spelt in (without_files or {}).items():
        texts = {name: spelt(name, schema) for name, schema in options.items()}
        content[kind] = {"schema": _with_photo(texts, photos, ())}
    return {"requestBody": {"required": True, "content": content}}


def _with_photo(properties: Mapping[str, Schema], photos: Sequence[str], excluding: Sequence[str]) -> Schema:
    there = [name for name in photos if name in properties]
    schema: Schema = {"type": "object", "properties": dict(properties)}
    if len(there) == 1:
        return _closed({**schema, "required": there}, excluding)
    return _closed({**schema, "anyOf": [{"required": [name]} for name in there]}, excluding, there)


def _closed(schema: Schema, *excluding: Sequence[str]) -> Schema:
    """There are no other options; and where one of those `excluding` each other is, the others are not."""
    alone = {
        name: {"properties": dict.fromkeys([other for other in names if other != name], False)}
        for names in excluding
        for name in names
    }
    return {**schema, "additionalProperties": False} | ({"dependentSchemas": alone} if alone else {})
