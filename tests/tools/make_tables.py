"""Writes the tables of README, MODEL_CARD and docs/ from the code and the built-in model's manifest.

    make docs

Each table stands between `<!-- name -->` and `<!-- end -->`; a test fails when one is out of date.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from app import errors
from app.api.removebg_options import RemovebgOptions
from app.options import CutoutOptions
from app.settings import BUILT_IN_MODEL, PREFIX, Settings
from model.contract import read_manifest

ROOT = Path(__file__).parents[2]
DOCUMENTS = tuple(
    ROOT / name for name in ("README.md", "MODEL_CARD.md", "docs/settings.md", "docs/errors.md")
)
COLUMNS = ("SAD", "MSE", "MAD", "mIoU", "SAD-T", "MAD-T")


def settings_table() -> list[str]:
    rows = ["| variable | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = str(field.default).lower() if isinstance(field.default, bool) else field.default
        shown = {BUILT_IN_MODEL: "the built-in model", (): "none", None: "none"}.get(default, f"`{default}`")
        rows.append(f"| `{PREFIX}{name.upper()}` | {shown} | {field.description} |")
    return rows


def errors_table() -> list[str]:
    """One row per error that a client can see, by status."""
    found = [*_seen(errors.ServiceError), *CutoutOptions.problems(), *RemovebgOptions.problems()]
    rows = {
        (error.status, error.code): f"| {error.status} | `{error.code}` | {error.title}"
        + (", with `Retry-After` |" if error.retry_after_s is not None else " |")
        for error in found
    }
    return ["| status | code | meaning |", "|---|---|---|", *(rows[key] for key in sorted(rows))]


def figures_table() -> list[str]:
    """The means that `evaluate --record` wrote into the built-in model's manifest."""
    metrics = read_manifest(BUILT_IN_MODEL).metrics
    rows = [f"| {' | '.join(('validation pictures', *COLUMNS))} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for label, prefix in (
        ("256 everyday scenes", "P3M-500-P/"),
        ("150 portraits", "P3M-500-NP/"),
        ("of them 100 selfies (`e*`)", "P3M-500-NP/e*/"),
        ("and 50 full bodies (`c*`)", "P3M-500-NP/c*/"),
    ):
        values = (f"{metrics[prefix + name]:.4g}" for name in COLUMNS)
        rows.append(f"| {label} | {' | '.join(values)} |")
    return rows


def _seen(kind: type[errors.ServiceError]) -> Iterable[type[errors.ServiceError]]:
    """Those with a code of their own; 499 is never seen by a client, who has gone."""
    if "code" in vars(kind) and kind is not errors.ClientGone:
        yield kind
    for each in kind.__subclasses__():
        yield from _seen(each)


TABLES = {"settings": settings_table, "errors": errors_table, "figures": figures_table}


def with_tables(text: str) -> str:
    """`text` with every marked table written anew. Raises KeyError for a mark without a table."""

    def anew(mark: re.Match[str]) -> str:
        return "\n".join((f"<!-- {mark[1]} -->", *TABLES[mark[1]](), "<!-- end -->"))

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- end -->", anew, text, flags=re.DOTALL)


if __name__ == "__main__":
    for document in DOCUMENTS:
        document.write_text(with_tables(document.read_text(encoding="utf-8")), encoding="utf-8")
