"""Tests that `make test` leaves out as slow run wherever all have to pass."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def recipe(target: str) -> str:
    """What `target` needs and does."""
    found = re.search(rf"^{target}:(.*\n(?:\t.*\n)*)", MAKEFILE, re.MULTILINE)
    assert found
    return found[1]


def test_only_make_test_leaves_slow_tests_out() -> None:
    assert MAKEFILE.count("not slow'") == recipe("test").count("not slow'") == 1
    assert "$(TESTS)" in recipe("test-all")
    assert "test-all" in recipe("check").split()


def test_ci_runs_all_tests() -> None:
    assert "\nmake test-all\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "make check" in (ROOT / ".github" / "workflows" / "check.yml").read_text(encoding="utf-8")
