"""The training package's command line: `python -m training COMMAND --help`."""

from __future__ import annotations

import os
import sys

import typer
from rich.markup import escape

from training.commands import artifact, console, data, quality, run

# TensorFlow's start-up notes (CUDA not found, oneDNN on) are no news to a person who trains.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

cli = typer.Typer(
    help="Train, evaluate and export U²-Net for portrait matting.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cli.command()(data.inspect)
cli.command()(run.train)
cli.command()(run.plot)
cli.command()(artifact.export)
cli.command()(quality.evaluate)
cli.command()(quality.score)
cli.command("import-weights")(artifact.import_weights)
cli.command("to-onnx")(artifact.to_onnx)


def main() -> None:
    from model.contract import ContractError

    try:
        cli()
    except (ValueError, FileNotFoundError, RuntimeError, ContractError) as error:
        console.print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
