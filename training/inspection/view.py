"""An Inspection in the terminal: a column per split, and a list per kind of finding that can be read to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from training.data.findings import MEANING, WARNINGS, Finding, FindingKind
from training.inspection.inspect import Inspection, SplitInspection, Spread

SHOWN: Final = 20  # findings of each kind

_NONE: Final = "–"


def view(inspection: Inspection) -> Group:
    """The table, the findings and a verdict; readable at 80 columns."""
    return Group(table(inspection), *findings_by_kind(inspection.findings), _verdict(inspection))


def table(inspection: Inspection) -> Table:
    """A row per fact, a column per split."""
    how = "every file decoded" if inspection.decoded else "headers only"
    absent = f"; absent: {', '.join(inspection.absent)}" if inspection.absent else ""
    result = Table("", caption=how + absent)
    for split in inspection.splits:
        result.add_column(split.name, justify="right")
    for name, fact in _rows(inspection.splits):
        result.add_row(name, *(fact(split) for split in inspection.splits))
    return result


def _rows(splits: Sequence[SplitInspection]) -> Iterator[tuple[str, Callable[[SplitInspection], str]]]:
    yield "pairs", lambda split: str(split.pairs)
    yield "images without mask", lambda split: str(split.images_without_mask)
    yield "masks without image", lambda split: str(split.masks_without_image)
    yield "pairs with trimap", lambda split: _NONE if split.trimaps is None else str(split.trimaps)
    for name in dict.fromkeys(name for split in splits for name in split.beside):
        yield f"pairs with {name}", partial(_beside, name)
    yield "height, median", lambda split: _size(split.height)
    yield "  least…most", lambda split: _range(split.height)
    yield "width, median", lambda split: _size(split.width)
    yield "  least…most", lambda split: _range(split.width)
    yield "mean size", _mean_size
    yield "megapixels, median", lambda split: _size(split.megapixels, ".2f")
    yield "  least…most", lambda split: _range(split.megapixels, ".2f")
    yield "masks of several channels", lambda split: str(split.several_channels)
    yield "soft masks", lambda split: _NONE if split.soft is None else f"{split.soft:.1%}"
    yield "mean foreground", lambda split: _NONE if split.foreground is None else f"{split.foreground:.1%}"


def _beside(name: str, split: SplitInspection) -> str:
    return str(split.beside.get(name, _NONE))


def _size(spread: Spread | None, form: str = ".0f") -> str:
    return _NONE if spread is None else f"{spread.median:{form}}"


def _range(spread: Spread | None, form: str = ".0f") -> str:
    return _NONE if spread is None else f"{spread.least:{form}}…{spread.most:{form}}"


def _mean_size(split: SplitInspection) -> str:
    return f"{split.height.mean:.0f} × {split.width.mean:.0f}" if split.height and split.width else _NONE


def findings_by_kind(findings: Sequence[Finding]) -> Iterator[RenderableType]:
    """Per kind: how many, what it means, the first of them. File names may hold rich's markup, so all is Text."""
    for kind in FindingKind:
        group = [finding for finding in findings if finding.kind is kind]
        if not group:
            continue
        style = "bold yellow" if kind in WARNINGS else "bold red"
        yield Text(f"\n{kind} ({len(group)})", style)
        yield Text(MEANING[kind], "italic")
        lines = [f"{finding.file}: {finding.what}" for finding in group[:SHOWN]]
        lines += [f"… and {len(group) - SHOWN} more"] * (len(group) > SHOWN)
        yield from (Padding(Text(line), (0, 0, 0, 2), expand=False) for line in lines)


def _verdict(inspection: Inspection) -> Text:
    problems, warnings = len(inspection.problems), len(inspection.warnings)
    pairs = sum(split.pairs for split in inspection.splits)
    counted = f"{problems or 'no'} problem{'s' * (problems != 1)}, {warnings or 'no'} warning{'s' * (warnings != 1)}"
    return Text(f"\n{counted} in {pairs} pairs", "bold red" if problems else "bold green")
