"""`python -m training`: runs a command, and tells a person in one line what went wrong."""

from __future__ import annotations

import sys
from typing import Final

from rich.markup import escape

from training.cli import console
from training.cli.app import app

# What is not among the packages of the service alone: the extra `train` of pyproject.toml brings it.
EXTRA: Final = frozenset({"keras", "matplotlib", "tensorboard", "tensorflow"})


def main() -> None:
    from model.contract import ContractError

    try:
        app()
    except OSError as error:
        _end(_in_words(error))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        _end(
            f"this needs {error.name}, which is not installed: {sys.executable} -m pip install 'u2matte[train]'"
        )
    except (ValueError, RuntimeError, ContractError) as error:
        _end(str(error))


def _in_words(error: OSError) -> str:
    """The file and what is wrong with it, where the system told both."""
    if error.filename is None or error.strerror is None:
        return str(error)
    what = error.strerror[:1].lower() + error.strerror[1:]
    return f"{error.filename}: {what}"


def _end(message: str) -> None:
    console.print(f"[red]error:[/red] {escape(message)}", soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
