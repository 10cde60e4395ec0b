"""The training package's command line: `python -m training COMMAND --help`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from model.contract import Geometry
from model.matting import Quality
from training.cuts import Cut

# TensorFlow's start-up notes (CUDA not found, oneDNN on) are no news to a person who trains.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

cli = typer.Typer(
    help="Train, evaluate and export U²-Net for portrait matting.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()


@cli.callback()
def root() -> None:
    """Train, evaluate and export U²-Net for portrait matting."""


@cli.command()
def train(
    config_path: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="The run's document.")],
    data_root: Annotated[
        Path | None, typer.Option(help="Folder laid out as P3M-10k; overrides data_root of the document.")
    ] = None,
    backgrounds: Annotated[
        Path | None, typer.Option(help="Folder of pictures without people, for background replacement.")
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="Where the run lives [default: runs/<name of the document>].")
    ] = None,
    init_from: Annotated[
        Path | None,
        typer.Option(metavar="ARTIFACT", help="Begin with an artifact's weights instead of random ones."),
    ] = None,
) -> None:
    """Train as CONFIG.toml says; takes up the run where it stopped, when it exists."""
    from training.config import load_config
    from training.dataset import list_backgrounds, list_pairs
    from training.loop import TrainData, train
    from training.progress import Progress
    from training.state import claim

    config = load_config(config_path)
    root = _data_root(data_root, config.data_root)
    behind = backgrounds or (Path(config.backgrounds) if config.backgrounds else None)
    training, validation = list_pairs(root, "train"), list_pairs(root, config.validation_split)
    for split in (training, validation):
        _report_orphans(split.name, split.images_without_alpha, split.alphas_without_image)
    data = TrainData(training.pairs, validation.pairs, list_backgrounds(behind) if behind else ())
    run_dir = run_dir or Path("runs") / config_path.stem
    claim(run_dir, config_path, config, init_from)
    with Progress(console) as progress:
        finished = train(config, data, run_dir, progress, init_from)
    if not finished:
        console.print(f"stopped; the same command takes up {run_dir} again")
        raise typer.Exit(130)
    console.print(f"done: python -m training export {run_dir} ARTIFACT_DIR")


@cli.command()
def export(
    run_dir: Annotated[Path, typer.Argument(help="A run of `train`, finished or not.")],
    artifact_dir: Annotated[Path, typer.Argument(help="Where the artifact goes.")],
    version: Annotated[str, typer.Option(help="Version in the manifest and the X-Model header.")] = "1",
    data: Annotated[str, typer.Option(help="What it was trained on, for the manifest.")] = "",
    licence: Annotated[str, typer.Option(help="Under which terms the weights may be used.")] = "",
    storage: Annotated[
        Literal["float16", "float32"], typer.Option(help="How kernels are stored; 16 bits halve the size.")
    ] = "float16",
    serve_size: Annotated[
        int | None, typer.Option(help="Side of the served square in pixels [default: the document's].")
    ] = None,
    geometry: Annotated[
        Geometry | None,
        typer.Option(help="How photos are laid into the square [default: the document's]."),
    ] = None,
    sharpness: Annotated[
        float, typer.Option(min=0.1, max=10, help="Factor on the logits; above 1 alpha is more decided.")
    ] = 1.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing artifact.")] = False,
) -> None:
    """Make a SavedModel and its manifest from a run's best checkpoint."""
    from training.export import export_run

    manifest = export_run(
        run_dir,
        artifact_dir,
        version=version,
        data=data,
        licence=licence,
        storage=storage,
        serve_size=serve_size,
        geometry=geometry,
        sharpness=sharpness,
        overwrite=overwrite,
    )
    megabytes = sum(path.stat().st_size for path in artifact_dir.rglob("*") if path.is_file()) / 1e6
    console.print(
        f"{manifest.label}: {manifest.architecture}, {manifest.parameters / 1e6:.2f} M parameters, "
        f"{manifest.input_size}×{manifest.input_size}, {megabytes:.1f} MB in {artifact_dir}"
    )


@cli.command()
def evaluate(
    artifact: Annotated[Path, typer.Argument(help="An artifact directory.")],
    data_root: Annotated[Path, typer.Option(help="Folder laid out as P3M-10k.")],
    split: Annotated[str, typer.Option(help="P3M-500-NP, P3M-500-P or train.")] = "P3M-500-NP",
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Write every image's figures here.")
    ] = None,
    report_dir: Annotated[
        Path | None,
        typer.Option("--report", metavar="DIR", help="Write a page with plots and the worst mattes here."),
    ] = None,
    refined: Annotated[
        bool,
        typer.Option("--refine/--no-refine", help="Follow the picture's own edges, as the service does."),
    ] = True,
    quality: Annotated[Quality, typer.Option(help="As the option of /v1/matte.")] = Quality.STANDARD,
    cut: Annotated[
        Cut,
        typer.Option(
            help="What of each picture is scored; `landscape` its upper part in 4:3, `nobody` a strip without people."
        ),
    ] = Cut.WHOLE,
    record: Annotated[
        bool, typer.Option("--record", help="Write the means into the artifact's manifest.")
    ] = False,
) -> None:
    """Score an artifact on a split, as it is served."""
    import training.evaluate as evaluation

    protocol = evaluation.Protocol(refined, quality, cut)
    if record and protocol != evaluation.SERVED:
        raise ValueError("--record keeps what is served: without --no-refine, --quality or --cut")
    result = evaluation.evaluate_artifact(artifact, data_root, split, protocol)
    console.print(evaluation.table(result))
    if json_path is not None:
        json_path.write_text(result.to_json(), encoding="utf-8")
    if report_dir is not None:
        from training.report import write_report

        console.print(f"report: {write_report(result, artifact, data_root, protocol, report_dir)}")
    if record:
        evaluation.record(artifact, result)


@cli.command("import-weights")
def import_weights(
    checkpoint: Annotated[Path, typer.Argument(help="u2net.pth, u2netp.pth or the like.")],
    artifact_dir: Annotated[Path, typer.Argument(help="Where the artifact goes.")],
    variant: Annotated[Literal["full", "lite"], typer.Option(help="lite is the official u2netp.")] = "full",
    size: Annotated[int, typer.Option(help="Side of the served square in pixels.")] = 320,
) -> None:
    """Make an artifact from official PyTorch weights, without PyTorch."""
    import training.import_weights as importing

    manifest = importing.import_weights(checkpoint, artifact_dir, variant, size)
    console.print(f"{manifest.label}: {manifest.parameters / 1e6:.2f} M parameters in {artifact_dir}")


def _data_root(option: Path | None, configured: str) -> Path:
    if option is not None:
        return option
    if not configured:
        raise ValueError("no data: give --data-root DIR, or data_root in the document")
    return Path(configured)


def _report_orphans(split: str, images: tuple[str, ...], alphas: tuple[str, ...]) -> None:
    for stems, lacking in ((images, "mask"), (alphas, "image")):
        if stems:
            shown = ", ".join(stems[:5]) + (" …" if len(stems) > 5 else "")
            console.print(f"[yellow]{split}: {len(stems)} without {lacking}, left out: {shown}")


def main() -> None:
    from model.contract import ContractError

    try:
        cli()
    except (ValueError, FileNotFoundError, RuntimeError, ContractError) as error:
        console.print(f"[red]error:[/red] {error}", soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
