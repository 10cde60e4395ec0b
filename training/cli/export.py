"""`export`, `import-weights` and `to-onnx`: a run or other people's weights as an artifact, an artifact as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from model.contract import Geometry
from training.cli import console

if TYPE_CHECKING:
    from training.export.artifact import Exported

# Options of several commands.
ArtifactDir = Annotated[Path, typer.Argument(help="Where the artifact goes.")]
DataText = Annotated[str, typer.Option(help="What it was trained on, for the manifest.")]
LicenceText = Annotated[str, typer.Option(help="Under which terms the weights may be used.")]
ReplaceArtifact = Annotated[bool, typer.Option("--overwrite", help="Replace an existing artifact.")]
KernelStorage = Literal["int8", "float16", "float32"]

# Options of `export`.
CalibrationPhotos = Annotated[
    Path | None,
    typer.Option(
        "--calibrate",
        metavar="DIR",
        help="Some dozens of photos as people send them: the service may then calculate in 8 bits.",
    ),
]
ServeSize = Annotated[
    int | None, typer.Option(help="Side of the served square in pixels [default: the document's].")
]
ServeGeometry = Annotated[
    Geometry | None,
    typer.Option(help="How photos are laid into the square [default: the document's]."),
]
Sharpness = Annotated[
    float, typer.Option(min=0.1, max=10, help="Factor on the logits; above 1 alpha is more decided.")
]
Cascade = Annotated[
    str,
    typer.Option(
        metavar="SIZE:CONFIDENCE,…",
        help="Squares that the network is run at, one after the other, each until its confidence is reached, as "
        "256:0.96,320:0.94,384:0; --serve-size is one of them.",
    ),
]
BlendArtifact = Annotated[
    Path | None,
    typer.Option(
        metavar="ARTIFACT", help="Mix in the weights of a model, as of the one that the run began with."
    ),
]


def export(
    run_dir: Annotated[Path, typer.Argument(help="A run of `train`, finished or not.")],
    artifact_dir: ArtifactDir,
    version: Annotated[str, typer.Option(help="Version in the manifest and the X-Model header.")] = "1",
    data: DataText = "",
    licence: LicenceText = "",
    storage: Annotated[
        KernelStorage, typer.Option(help="How kernels are stored; 16 bits halve the size, 8 bits quarter it.")
    ] = "float16",
    photos: CalibrationPhotos = None,
    serve_size: ServeSize = None,
    geometry: ServeGeometry = None,
    sharpness: Sharpness = 1.0,
    cascade: Cascade = "",
    last: Annotated[
        bool, typer.Option("--last", help="The last checkpoint instead of the best validated.")
    ] = False,
    blend: BlendArtifact = None,
    blend_share: Annotated[float, typer.Option(min=0, max=1, help="How much of --blend's weights.")] = 0.5,
    overwrite: ReplaceArtifact = False,
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
        cascade=_cascade(cascade),
        overwrite=overwrite,
    )
    _report_export(exported, artifact_dir)


def _cascade(text: str) -> dict[int, float]:
    """Raises ValueError in the words of the option."""
    try:
        pairs = [part.split(":") for part in text.split(",") if part]
        return {int(size): float(confident) for size, confident in pairs}
    except ValueError:
        raise ValueError(f"--cascade {text}: write SIZE:CONFIDENCE,… as 256:0.96,320:0.94,384:0") from None


def _report_export(exported: Exported, artifact_dir: Path) -> None:
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


# Options of `import-weights`.
ImportPhotos = Annotated[
    Path | None,
    typer.Option(
        "--photos",
        "--calibrate",
        metavar="DIR",
        help="Folder of some dozen photos, as people send them: 8 bits need them, and training, where the "
        "file has no batch norm statistics.",
    ),
]
ImportSize = Annotated[
    int | None,
    typer.Option(
        "--size", "--square", help="Side of the served square in pixels [default: the file's, else 320]."
    ),
]


def import_weights(
    file: Annotated[Path, typer.Argument(help="u2net.onnx, u2net.pth, u2netp.safetensors or the like.")],
    artifact_dir: ArtifactDir,
    variant: Annotated[
        Literal["full", "lite"] | None,
        typer.Option(help="What the file must hold; lite is the official u2netp [default: what it holds]."),
    ] = None,
    size: ImportSize = None,
    photos: ImportPhotos = None,
    storage: Annotated[
        KernelStorage,
        typer.Option(help="How kernels are stored; 8 bits quarter the size, and need --photos."),
    ] = "float32",
    name: Annotated[
        str, typer.Option(help="Name in the manifest [default: of models/NAME/1 that, else the file's].")
    ] = "",
    version: Annotated[
        str, typer.Option(help="Version in the manifest [default: of models/NAME/2 the 2, else 1].")
    ] = "",
    data: DataText = "",
    licence: LicenceText = "",
    overwrite: ReplaceArtifact = False,
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
    _report_export(exported, artifact_dir)
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
