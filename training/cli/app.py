"""The command line: every command by its name, in the order of `--help`."""

from __future__ import annotations

import typer

from training.cli.evaluate import evaluate, score
from training.cli.export import export, import_weights, to_onnx
from training.cli.inspect import inspect
from training.cli.train import plot, train
from training.engine.tensorflow_start import with_tensorflow

app = typer.Typer(
    help="Train, evaluate and export U²-Net for portrait matting.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(inspect)
app.command()(with_tensorflow(train))
app.command()(plot)
app.command()(with_tensorflow(export))
app.command()(with_tensorflow(evaluate))
app.command()(score)
app.command("import-weights")(with_tensorflow(import_weights))
app.command("to-onnx")(with_tensorflow(to_onnx))
