"""The training package's command line: `python -m training COMMAND --help`."""

from __future__ import annotations

import sys
from typing import Final

import typer
from rich.markup import escape

from training import cli as commands
from training.cli import console
from training.engine.tensorflow_start import with_tensorflow

# What is not among the packages of the service alone: the extra `train` of pyproject.toml brings it.
EXTRA: Final = frozenset({"keras", "matplotlib", "tensorboard"})

cli = typer.Typer(
    help="Train, evaluate and export U²-Net for portrait matting.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cli.command()(commands.inspect)
cli.command()(with_tensorflow(commands.train))
cli.command()(commands.plot)
cli.command()(with_tensorflow(commands.export))
cli.command()(with_tensorflow(commands.evaluate))
cli.command()(commands.score)
cli.command("import-weights")(with_tensorflow(commands.import_weights))
cli.command("to-onnx")(with_tensorflow(commands.to_onnx))


def main() -> None:
    from model.contract import ContractError

    try:
        cli()
    except OSError as error:
        _end(_in_words(error))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        _end(
            f"this needs {error.name}, which is not installed; in the project's folder, "
            f"{sys.executable} -m pip install -e '.[train]' installs it"
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
