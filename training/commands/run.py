"""`train` and `plot`: a run and its curves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.commands import console
from training.findings import Oddity

if TYPE_CHECKING:
    from training.config import TrainConfig
    from training.dataset import Sources, Split

RUNS = Path("runs")


@dataclass(frozen=True, slots=True)
class _Found:
    """The run's pictures as they are listed, before one of them is opened."""

    root: Path
    training: Split
    validation: Split
    backgrounds: tuple[Path, ...]


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
        Path,
        typer.Option(
            help="Where notes of checked pairs are kept and, if the document has a shorter_side, decoded pictures."
        ),
    ] = RUNS / "cache",
    allow: Annotated[
        list[Oddity] | None,
        typer.Option(
            help="What is odd in the data and meant to be so; may be given several times. Everything else that "
            "`inspect` calls a problem stops the run before its first step."
        ),
    ] = None,
    data_changed: Annotated[
        bool, typer.Option("--data-changed", help="Take a run up although its pictures are others now.")
    ] = False,
) -> None:
    """Train as CONFIG.toml says; takes up the run where it stopped, when it exists."""
    from training.config import load_config
    from training.dataset import TrainData
    from training.loop import train
    from training.progress import Progress
    from training.readiness import check_ready
    from training.run_dir import check_claim, claim
    from training.run_pictures import Pictures

    config = load_config(config_path)
    found = _found(config, data_root, backgrounds)
    run_dir = run_dir or RUNS / config_path.stem
    pictures = Pictures.of(found.training.pairs, found.validation.pairs, found.backgrounds)
    check_claim(run_dir, config_path, config, init_from, pictures, data_changed=data_changed)
    splits = (found.training, found.validation)
    check_ready(splits, found.backgrounds, found.root, cache, console, frozenset(allow or ()))
    data = TrainData(found.training.pairs, found.validation.pairs, _sources(config, found, cache))
    claim(run_dir, config_path, config, init_from, pictures, data_changed=data_changed)
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


def _found(config: TrainConfig, data_root: Path | None, backgrounds: Path | None) -> _Found:
    """Options come before the document."""
    from training.dataset import is_own, list_backgrounds, list_pairs

    if data_root is None and not config.data_root:
        raise ValueError("no data: give --data-root DIR, or data_root in the document")
    root = data_root or Path(config.data_root)
    behind = backgrounds or (Path(config.backgrounds) if config.backgrounds else None)
    training, validation = list_pairs(root, "train"), list_pairs(root, config.validation_split)
    # All splits of one's own data are in one folder.
    for split in (training,) if is_own(root) else (training, validation):
        _report_orphans(split.name, split.images_without_alpha, split.alphas_without_image)
        _report_others(split)
    return _Found(root, training, validation, list_backgrounds(behind) if behind else ())


def _sources(config: TrainConfig, found: _Found, cache: Path) -> Sources:
    from training.cache import build
    from training.dataset import Sources

    pairs = found.training.pairs
    if config.shorter_side:
        return build(pairs, found.backgrounds, cache, config.shorter_side, console)
    return Sources.of(pairs, found.backgrounds)


def _report_others(split: Split) -> None:
    from training.dataset import in_words

    for folder, kinds in split.listing.others.items():
        text = f"{split.name}: not read in {folder}/: {in_words(kinds)}"
        console.print(text, style="yellow", markup=False)


def _report_orphans(split: str, images: tuple[str, ...], alphas: tuple[str, ...]) -> None:
    for stems, lacking in ((images, "mask"), (alphas, "image")):
        if stems:
            shown = ", ".join(stems[:5]) + (" …" if len(stems) > 5 else "")
            text = f"{split}: {len(stems)} without {lacking}, left out: {shown}"
            console.print(text, style="yellow", markup=False)
