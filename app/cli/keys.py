"""A name comes in, a new key goes out: to its holder, and as the line to keep. Knows no service that runs."""

from __future__ import annotations

import typer

from app.cli import exit
from app.security.api_keys import KeysError, generate_key


def make(name: str, rate: int | None) -> None:
    """Print the line for MATTE_API_KEYS_FILE on standard output, and on standard error the key, this once."""
    try:
        secret, key = generate_key(name, rate)
    except KeysError as error:
        exit.fail(str(error))
    typer.echo(f"The key of {key.name}, shown this once and kept nowhere:\n\n    {secret}\n", err=True)
    typer.echo("Its line for MATTE_API_KEYS_FILE:\n", err=True)
    typer.echo(key.line)
