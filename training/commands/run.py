"""`train` and `plot`: a run and its curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.commands import console

if TYPE_CHECKING:
    from training.config import TrainConfig
    from training.dataset import TrainData

RUNS = Path("runs")


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
    cache: Annotated[
        Path, typer.Option(help="Where decoded pictures are kept, if the document has a shorter_side.")
    ] = RUNS / "cache",
) -> None:
    """Train as CONFIG.toml says; takes up the run where it stopped, when it exists."""
    from training.config import load_config
    from training.loop import train
    from training.progress import Progress
    from training.run_dir import claim

    config = load_config(config_path)
    data = _data(config, data_root, backgrounds, cache)
    run_dir = run_dir or RUNS / config_path.stem
    claim(run_dir, config_path, config, init_from)
    with Progress(console) as progress:
        finished = train(config, data, run_dir, progress, init_from)
    if not finished:
        raise typer.Exit(130)


def plot(run_dir: Annotated[Path, typer.Argument(help="A run of `train`.")]) -> None:
    """Draw a run's history again, as curves.png in its directory."""
    from training.history import read_history
    from training.plots import plot_history

    rows = read_history(run_dir / "history.csv")
    if not rows:
        raise FileNotFoundError(f"{run_dir}: no history.csv with a validation yet")
    plot_history(rows, run_dir / "curves.png")
    console.print(f"curves: {run_dir / 'curves.png'}", markup=False)


def _data(config: TrainConfig, data_root: Path | None, backgrounds: Path | None, cache: Path) -> TrainData:
    """Options come before the document."""
    from training.cache import build
    from training.dataset import Sources, TrainData, list_backgrounds, list_pairs

    if data_root is None and not config.data_root:
        raise ValueError("no data: give --data-root DIR, or data_root in the document")
    root = data_root or Path(config.data_root)
    behind = backgrounds or (Path(config.backgrounds) if config.backgrounds else None)
    training, validation = list_pairs(root, "train"), list_pairs(root, config.validation_split)
    for split in (training, validation):
        _report_orphans(split.name, split.images_without_alpha, split.alphas_without_image)
    grounds = list_backgrounds(behind) if behind else ()
    if config.shorter_side:
        sources = build(training.pairs, grounds, cache, config.shorter_side, console)
    else:
        sources = Sources.of(training.pairs, grounds)
    return TrainData(training.pairs, validation.pairs, sources)


def _report_orphans(split: str, images: tuple[str, ...], alphas: tuple[str, ...]) -> None:
    for stems, lacking in ((images, "mask"), (alphas, "image")):
        if stems:
            shown = ", ".join(stems[:5]) + (" …" if len(stems) > 5 else "")
            text = f"{split}: {len(stems)} without {lacking}, left out: {shown}"
            console.print(text, style="yellow", markup=False)
