"""The program `u2matte`: the commands of `python -m app` and of `python -m training` under one name.

What was typed comes in, the command that is meant gets it. Installed alone, the package is the Python client and has
no command line: which extra brings a command is said in one sentence. Knows of training its name and its commands'.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    import typer

OWN: Final = frozenset({"app", "model", "training"})
TRAINING: Final = {
    "inspect": "Check a data set before hours are spent on it.",
    "train": "Train a network.",
    "plot": "Draw a run's curves again.",
    "export": "A run becomes a model that the service loads.",
    "evaluate": "Compare a model's mattes with true ones.",
    "score": "Compare two folders of mattes.",
    "import-weights": "U²-Net weights from elsewhere become a model.",
    "to-onnx": "A model becomes an ONNX file.",
}


def main() -> None:
    """Run what `sys.argv` says."""
    extra = "train" if sys.argv[1:2] and sys.argv[1] in TRAINING else "serve"
    try:
        command_line()()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in OWN - {"training"}:
            raise
        if missing == "training":
            _end("this installation is of the service alone, without its training package")
        _end(
            f"this needs {missing}, which is not installed: {sys.executable} -m pip install 'u2matte[{extra}]'"
        )


def command_line() -> typer.Typer:
    """All commands, those of training in a panel of their own. Raises ModuleNotFoundError without the extra."""
    import typer

    from app.__main__ import cli

    both = typer.Typer(help=cli.info.help, no_args_is_help=True, pretty_exceptions_enable=False)
    both.registered_commands += cli.registered_commands
    for name, help in TRAINING.items():
        # Whatever follows, --help among it, is training's to read.
        anything = {"ignore_unknown_options": True, "allow_extra_args": True}
        panel = "Training (extra `train`)"
        both.command(
            name, help=help, context_settings=anything, add_help_option=False, rich_help_panel=panel
        )(_train)
    return both


def _train() -> None:
    run: Callable[[], None] = import_module("training.__main__").main
    run()


def _end(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(1)
