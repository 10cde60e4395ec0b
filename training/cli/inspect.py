"""`inspect`: what is in a data set, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.cli import console


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
