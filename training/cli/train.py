"""`train` and `plot`: a run, and its curves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.cli import console
from training.data.findings import AllowableProblem

if TYPE_CHECKING:
    from training.config import TrainConfig
    from training.data.dataset import Sources, Split

RUNS = Path("runs")

TrainDataRoot = Annotated[
    Path | None, typer.Option(help="Folder laid out as P3M-10k; overrides data_root of the document.")
]
Backgrounds = Annotated[
    Path | None, typer.Option(help="Folder of pictures without people, for background replacement.")
]
RunDir = Annotated[
    Path | None, typer.Option(help="Where the run lives [default: runs/<name of the document>].")
]
InitFrom = Annotated[
    Path | None,
    typer.Option(metavar="ARTIFACT", help="Begin with an artifact's weights instead of random ones."),
]
CacheDir = Annotated[
    Path,
    typer.Option(
        help="Where notes of checked pairs are kept and, if the document has a shorter_side, decoded pictures."
    ),
]
Allow = Annotated[
    list[AllowableProblem] | None,
    typer.Option(
        help="What is odd in the data and meant to be so; may be given several times. Everything else that "
        "`inspect` calls a problem stops the run before its first step."
    ),
]


def train(
    config_path: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="The run's document.")],
    data_root: TrainDataRoot = None,
    backgrounds: Backgrounds = None,
    run_dir: RunDir = None,
    init_from: InitFrom = None,
    cache: CacheDir = RUNS / "cache",
    allow: Allow = None,
    data_changed: Annotated[
        bool, typer.Option("--data-changed", help="Take a run up although its pictures are others now.")
    ] = False,
) -> None:
    """Train as CONFIG.toml says; takes up the run where it stopped, when it exists."""
    from training.config import load_config
    from training.data.dataset import TrainData
    from training.data.fingerprint import DataFingerprint
    from training.engine.progress import Progress
    from training.engine.run_dir import check_claim, claim
    from training.engine.trainer import train
    from training.inspection.readiness import check_ready

    config = load_config(config_path)
    files = _list_files(config, data_root, backgrounds)
    run_dir = run_dir or RUNS / config_path.stem
    pictures = DataFingerprint.of(files.training.pairs, files.validation.pairs, files.backgrounds)
    check_claim(run_dir, config_path, config, init_from, pictures, data_changed=data_changed)
    splits = (files.training, files.validation)
    check_ready(splits, files.backgrounds, files.root, cache, console, frozenset(allow or ()))
    data = TrainData(files.training.pairs, files.validation.pairs, _sources(config, files, cache))
    claim(run_dir, config_path, config, init_from, pictures, data_changed=data_changed)
    with Progress(console) as progress:
        finished = train(config, data, run_dir, progress, init_from)
    if not finished:
        raise typer.Exit(130)


@dataclass(frozen=True, slots=True)
class _RunFiles:
    """The files of a run, listed and not yet opened."""

    root: Path
    training: Split
    validation: Split
    backgrounds: tuple[Path, ...]


def _list_files(config: TrainConfig, data_root: Path | None, backgrounds: Path | None) -> _RunFiles:
    """List the run's files; the options come before the document. Report what is left out."""
    from training.data.dataset import is_own_folder, list_backgrounds, list_pairs

    if data_root is None and not config.data_root:
        raise ValueError("no data: give --data-root DIR, or data_root in the document")
    root = data_root or Path(config.data_root)
    background_dir = backgrounds or (Path(config.backgrounds) if config.backgrounds else None)
    training, validation = list_pairs(root, "train"), list_pairs(root, config.validation_split)
    # All splits of one's own data are in one folder.
    for split in (training,) if is_own_folder(root) else (training, validation):
        _report_orphans(split.name, split.images_without_alpha, split.alphas_without_image)
        _report_other_formats(split)
    return _RunFiles(root, training, validation, list_backgrounds(background_dir) if background_dir else ())


def _sources(config: TrainConfig, files: _RunFiles, cache: Path) -> Sources:
    """The files to read batches from: the cache's where the document has a `shorter_side`, else the pictures."""
    from training.data.cache import build_cache
    from training.data.dataset import Sources

    pairs = files.training.pairs
    if config.shorter_side:
        return build_cache(pairs, files.backgrounds, cache, config.shorter_side, console)
    return Sources.of(pairs, files.backgrounds)


def _report_orphans(split: str, images: tuple[str, ...], alphas: tuple[str, ...]) -> None:
    for stems, lacking in ((images, "mask"), (alphas, "image")):
        if stems:
            shown = ", ".join(stems[:5]) + (" …" if len(stems) > 5 else "")
            text = f"{split}: {len(stems)} without {lacking}, left out: {shown}"
            console.print(text, style="yellow", markup=False)


def _report_other_formats(split: Split) -> None:
    from training.data.dataset import describe_suffixes

    for folder, suffixes in split.listing.others.items():
        text = f"{split.name}: not read in {folder}/: {describe_suffixes(suffixes)}"
        console.print(text, style="yellow", markup=False)


def plot(run_dir: Annotated[Path, typer.Argument(help="A run of `train`.")]) -> None:
    """Draw a run's history again, as curves.png in its directory."""
    from training.engine.history import plot_history, read_history

    rows = read_history(run_dir / "history.csv")
    if not rows:
        raise FileNotFoundError(f"{run_dir}: no history.csv with a validation yet")
    plot_history(rows, run_dir / "curves.png")
    console.print(f"curves: {run_dir / 'curves.png'}", markup=False)
