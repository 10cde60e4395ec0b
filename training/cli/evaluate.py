"""`evaluate` and `score`: how good mattes are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model.quality import Quality
from training.cli import console
from training.evaluation.crops import Crop
from training.evaluation.protocol import Protocol, Sizing

ScoresJson = Annotated[
    Path | None, typer.Option("--json", metavar="OUT", help="Write every image's figures here.")
]

# Options of `evaluate`.
Splits = Annotated[
    list[str] | None,
    typer.Option(
        "--split",
        help="P3M-500-NP, P3M-500-P, train; may be given several times "
        "[default: P3M-500-NP, or held-out of one's own folder].",
    ),
]
ProtocolSizing = Annotated[
    Sizing,
    typer.Option(
        "--protocol",
        help="`served`: as the service does; `resize`: P3M-10k's own test, at half of each picture's sides.",
    ),
]
ReportDir = Annotated[
    Path | None,
    typer.Option("--report", metavar="DIR", help="Write a page with plots and the worst mattes here."),
]
MattesDir = Annotated[
    Path | None, typer.Option("--mattes", metavar="DIR", help="Write every matte here, as PNG.")
]
Refined = Annotated[
    bool, typer.Option("--refine/--no-refine", help="Follow the picture's own edges, as the service does.")
]
ScoredCrop = Annotated[
    Crop,
    typer.Option(
        "--cut",
        help="What of each picture is scored; `landscape` its upper part in 4:3, `nobody` a strip without people.",
    ),
]


def evaluate(
    artifact: Annotated[Path, typer.Argument(help="An artifact directory.")],
    data_root: Annotated[Path, typer.Option(help="Folder laid out as P3M-10k, or one's own.")],
    splits: Splits = None,
    sizing: ProtocolSizing = Sizing.SERVED,
    json_path: ScoresJson = None,
    report_dir: ReportDir = None,
    mattes_dir: MattesDir = None,
    refined: Refined = True,
    quality: Annotated[Quality, typer.Option(help="As the option of /v1/matte.")] = Quality.STANDARD,
    crop: ScoredCrop = Crop.WHOLE,
    record: Annotated[
        bool, typer.Option("--record", help="Write the means into the artifact's manifest.")
    ] = False,
) -> None:
    """Score an artifact on one split or several, as it is served or by P3M-10k's own protocol."""
    import training.evaluation.evaluate as evaluation
    from training.data.dataset import is_own_folder

    if report_dir is not None:
        from training.evaluation.report import write_report  # At once: what it needs may lack.
    protocol = Protocol(refined, quality, crop, sizing)
    splits = splits or ["held-out" if is_own_folder(data_root) else "P3M-500-NP"]
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
    json_path: ScoresJson = None,
) -> None:
    """Score a folder of mattes against a folder of truths, by P3M-10k's metrics."""
    from rich.progress import Progress

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
