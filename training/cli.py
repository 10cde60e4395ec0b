"""`export`, `import-weights`, `to-onnx`: a run or weights from elsewhere as an artifact, an artifact as ONNX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress

from model.contract import Geometry
from model.matting import Quality
from training.data.findings import Oddity
from training.evaluation.crops import Cut
from training.evaluation.protocol import Protocol, Sizing

if TYPE_CHECKING:
    from training.config import TrainConfig
    from training.data.dataset import Sources, Split
    from training.export.artifact import Exported

console = Console()

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
    from training.data.dataset import TrainData
    from training.data.fingerprint import Pictures
    from training.engine.progress import Progress
    from training.engine.run_dir import check_claim, claim
    from training.engine.trainer import train
    from training.inspection.readiness import check_ready

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
    from training.engine.history import plot_history, read_history

    rows = read_history(run_dir / "history.csv")
    if not rows:
        raise FileNotFoundError(f"{run_dir}: no history.csv with a validation yet")
    plot_history(rows, run_dir / "curves.png")
    console.print(f"curves: {run_dir / 'curves.png'}", markup=False)


def _found(config: TrainConfig, data_root: Path | None, backgrounds: Path | None) -> _Found:
    """Options come before the document."""
    from training.data.dataset import is_own, list_backgrounds, list_pairs

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
    from training.data.cache import build
    from training.data.dataset import Sources

    pairs = found.training.pairs
    if config.shorter_side:
        return build(pairs, found.backgrounds, cache, config.shorter_side, console)
    return Sources.of(pairs, found.backgrounds)


def _report_others(split: Split) -> None:
    from training.data.dataset import in_words

    for folder, kinds in split.listing.others.items():
        text = f"{split.name}: not read in {folder}/: {in_words(kinds)}"
        console.print(text, style="yellow", markup=False)


def _report_orphans(split: str, images: tuple[str, ...], alphas: tuple[str, ...]) -> None:
    for stems, lacking in ((images, "mask"), (alphas, "image")):
        if stems:
            shown = ", ".join(stems[:5]) + (" …" if len(stems) > 5 else "")
            text = f"{split}: {len(stems)} without {lacking}, left out: {shown}"
            console.print(text, style="yellow", markup=False)


def inspect(
    data_root: Annotated[
        Path, typer.Argument(metavar="DATA", help="Folder laid out as P3M-10k, or one's own.")
    ],
    sheet: Annotated[
        Path | None,
        typer.Option("--out", metavar="PNG", help="Write a contact sheet of pairs on green here."),
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Write everything here.")
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Read only headers and ends of files: masks are not looked at."),
    ] = False,
) -> None:
    """Count, measure and check a data set; exits 1 when something must be put right."""
    from training.inspection.inspect import inspect
    from training.inspection.view import view

    inspection = inspect(data_root, decode=not quick, console=console)
    console.print(view(inspection))
    if json_path is not None:
        json_path.write_text(inspection.to_json(), encoding="utf-8")
    if sheet is not None:
        from training.inspection.contact_sheet import write_contact_sheet

        write_contact_sheet(data_root, sheet)
        console.print(f"contact sheet: {sheet}", markup=False)
    if inspection.problems:
        raise typer.Exit(1)


def export(
    run_dir: Annotated[Path, typer.Argument(help="A run of `train`, finished or not.")],
    artifact_dir: Annotated[Path, typer.Argument(help="Where the artifact goes.")],
    version: Annotated[str, typer.Option(help="Version in the manifest and the X-Model header.")] = "1",
    data: Annotated[str, typer.Option(help="What it was trained on, for the manifest.")] = "",
    licence: Annotated[str, typer.Option(help="Under which terms the weights may be used.")] = "",
    storage: Annotated[
        Literal["int8", "float16", "float32"],
        typer.Option(help="How kernels are stored; 16 bits halve the size, 8 bits quarter it."),
    ] = "float16",
    photos: Annotated[
        Path | None,
        typer.Option(
            "--calibrate",
            metavar="DIR",
            help="Some dozens of photos as people send them: the service may then calculate in 8 bits.",
        ),
    ] = None,
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
    last: Annotated[
        bool, typer.Option("--last", help="The last checkpoint instead of the best validated.")
    ] = False,
    blend: Annotated[
        Path | None,
        typer.Option(
            metavar="ARTIFACT", help="Mix in the weights of a model, as of the one that the run began with."
        ),
    ] = None,
    blend_share: Annotated[float, typer.Option(min=0, max=1, help="How much of --blend's weights.")] = 0.5,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing artifact.")] = False,
) -> None:
    """Make a SavedModel and its manifest from a run's best checkpoint."""
    from training.export.artifact import Blend, Packing, export_run

    exported = export_run(
        run_dir,
        artifact_dir,
        version=version,
        data=data,
        licence=licence,
        packing=Packing(storage, photos),
        last=last,
        blend=Blend(blend, blend_share) if blend else None,
        serve_size=serve_size,
        geometry=geometry,
        sharpness=sharpness,
        overwrite=overwrite,
    )
    _report(exported, artifact_dir)


def _report(exported: Exported, artifact_dir: Path) -> None:
    manifest = exported.manifest
    megabytes = sum(path.stat().st_size for path in artifact_dir.rglob("*") if path.is_file()) / 1e6
    console.print(
        f"{manifest.label}: {manifest.architecture}, {manifest.parameters / 1e6:.2f} M parameters, "
        f"{manifest.input_size}×{manifest.input_size}, {megabytes:.1f} MB in {artifact_dir}",
        markup=False,
    )
    costs = {"stored weights": exported.stored, "weights and activations in 8 bits": exported.in_8_bits}
    for what, cost in costs.items():
        if cost is not None:
            console.print(
                f"{what}: alphas move by {cost.mean:.5f} on average, 99.9 % of them by {cost.percentile:.4f} at most"
            )


def import_weights(
    file: Annotated[Path, typer.Argument(help="u2net.onnx, u2net.pth, u2netp.safetensors or the like.")],
    artifact_dir: Annotated[Path, typer.Argument(help="Where the artifact goes.")],
    variant: Annotated[
        Literal["full", "lite"] | None,
        typer.Option(help="What the file must hold; lite is the official u2netp [default: what it holds]."),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            "--size", "--square", help="Side of the served square in pixels [default: the file's, else 320]."
        ),
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(
            help="Folder of some dozen photos, as people send them: 8 bits need them, and training, where the "
            "file has no batch norm statistics."
        ),
    ] = None,
    storage: Annotated[
        Literal["int8", "float16", "float32"],
        typer.Option(help="How kernels are stored; 8 bits quarter the size, and need --photos."),
    ] = "float32",
    name: Annotated[
        str, typer.Option(help="Name in the manifest [default: of models/NAME/1 that, else the file's].")
    ] = "",
    version: Annotated[
        str, typer.Option(help="Version in the manifest [default: of models/NAME/2 the 2, else 1].")
    ] = "",
    data: Annotated[str, typer.Option(help="What it was trained on, for the manifest.")] = "",
    licence: Annotated[str, typer.Option(help="Under which terms the weights may be used.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing artifact.")] = False,
) -> None:
    """Make an artifact from U²-Net weights in a PyTorch, safetensors or ONNX file, without PyTorch."""
    import training.export.import_weights as importing
    from training.export.artifact import Card, Packing

    with console.status(f"importing {file.name} …"):
        exported = importing.import_weights(
            file,
            artifact_dir,
            variant=variant,
            size=size,
            packing=Packing(storage, photos),
            card=Card(name, version, data, licence),
            overwrite=overwrite,
        )
    _report(exported, artifact_dir)
    console.print(exported.manifest.data, markup=False)


def to_onnx(
    artifact_dir: Annotated[Path, typer.Argument(help="An artifact of `export` or `import-weights`.")],
    file: Annotated[Path, typer.Argument(help="The ONNX file to write.")],
    form: Annotated[
        Literal["pixels", "normalised"],
        typer.Option(
            "--input",
            help="pixels: uint8 [N,S,S,3], alpha [N,S,S,1], as the service's model. normalised: float32 [N,3,H,W] by "
            "ImageNet's mean and deviation, alpha [N,1,S,S], as rembg's models.",
        ),
    ] = "pixels",
    keep_batch_norm: Annotated[
        bool,
        typer.Option("--keep-batch-norm", help="Do not fold it into the convolutions: for training further."),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Write an artifact as an ONNX file, and compare the two where ONNX Runtime is installed."""
    import training.export.to_onnx as exporting

    exported = exporting.to_onnx(
        artifact_dir, file, form=form, keep_batch_norm=keep_batch_norm, overwrite=overwrite
    )
    compared = (
        "not compared, since onnxruntime is not installed"
        if exported.difference is None
        else f"ONNX Runtime's alpha differs by {exported.difference:.1e} at most"
    )
    console.print(
        f"{exported.manifest.label}: {file.stat().st_size / 1e6:.1f} MB in {file}; {compared}", markup=False
    )


def evaluate(
    artifact: Annotated[Path, typer.Argument(help="An artifact directory.")],
    data_root: Annotated[Path, typer.Option(help="Folder laid out as P3M-10k, or one's own.")],
    splits: Annotated[
        list[str] | None,
        typer.Option(
            "--split",
            help="P3M-500-NP, P3M-500-P, train; may be given several times "
            "[default: P3M-500-NP, or held-out of one's own folder].",
        ),
    ] = None,
    sizing: Annotated[
        Sizing,
        typer.Option(
            "--protocol",
            help="`served`: as the service does; `resize`: P3M-10k's own test, at half of each picture's sides.",
        ),
    ] = Sizing.SERVED,
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Write every image's figures here.")
    ] = None,
    report_dir: Annotated[
        Path | None,
        typer.Option("--report", metavar="DIR", help="Write a page with plots and the worst mattes here."),
    ] = None,
    mattes_dir: Annotated[
        Path | None, typer.Option("--mattes", metavar="DIR", help="Write every matte here, as PNG.")
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
    """Score an artifact on one split or several, as it is served or by P3M-10k's own protocol."""
    import training.evaluation.evaluate as evaluation
    from training.data.dataset import is_own

    if report_dir is not None:
        from training.evaluation.report import write_report  # At once: what it needs may lack.
    protocol = Protocol(refined, quality, cut, sizing)
    splits = splits or ["held-out" if is_own(data_root) else "P3M-500-NP"]
    results = {}
    for split in splits:
        # With several splits, a folder for each.
        mattes, report = (
            folder / split if folder and len(splits) > 1 else folder for folder in (mattes_dir, report_dir)
        )
        results[split] = result = evaluation.evaluate_artifact(artifact, data_root, split, protocol, mattes)
        console.print(evaluation.table(result))
        if report is not None:
            page = write_report(result, artifact, data_root, protocol, report)
            console.print(f"report: {page}", markup=False)
        if record:
            evaluation.record(artifact, result, protocol)
    if json_path is not None:
        json_path.write_text(evaluation.to_json(results), encoding="utf-8")


def score(
    predicted: Annotated[Path, typer.Argument(metavar="PRED_DIR", help="Mattes of any tool.")],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH_DIR", help="True mattes of the same stems.")],
    trimaps: Annotated[
        Path | None, typer.Option("--trimap", metavar="DIR", help="Trimaps, for scores by region.")
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Write every image's figures here.")
    ] = None,
) -> None:
    """Score a folder of mattes against a folder of truths, by P3M-10k's metrics."""
    from training.evaluation.score import score_folders, table

    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("score")
        scored = score_folders(
            predicted,
            truth,
            trimaps,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    console.print(table(scored))
    if json_path is not None:
        json_path.write_text(scored.to_json(), encoding="utf-8")
