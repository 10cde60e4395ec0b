"""How a command ends before its last line. Knows no command."""

from __future__ import annotations

import logging
import os
from typing import Final, NoReturn

import typer

INTERRUPTED: Final = 130  # 128 + SIGINT, as shells count.
READER_GONE: Final = 141  # 128 + SIGPIPE: what other programs end with when nobody reads on.


def fail(message: str) -> NoReturn:
    """Say why on standard error, and exit with 1."""
    typer.echo(message, err=True)
    raise typer.Exit(1)


def leave(code: int) -> NoReturn:
    """Without waiting for threads: one in a C library, TensorFlow or a decoder, cannot be interrupted."""
    logging.shutdown()
    os._exit(code)
