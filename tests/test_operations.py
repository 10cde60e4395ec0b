"""docs/operations.md explains every metric."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.observability.metrics import Metrics

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
NAMES = sorted(
    {
        family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        for family in Metrics().registry.collect()
        if family.name.startswith("matte_")
    }
)


@pytest.mark.parametrize("name", NAMES)
def test_each_metric_is_explained(name: str) -> None:
    assert f"`{name}`" in TEXT
