"""Prometheus accepts docker/prometheus, each alert fires where it must, and the runbook says what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker" / "prometheus"
RUNBOOK = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
ALERTS = [rule["alert"] for rule in RULES]

with_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (Debian's package prometheus) is not installed"
)


@with_promtool
@pytest.mark.parametrize(
    "command",
    [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "--lint=all", "--lint-fatal", "alerts.yml"],
        pytest.param(["test", "rules", "alerts_test.yml"], marks=pytest.mark.slow),
    ],
    ids=["config", "rules", "alerts"],
)
def test_promtool_finds_nothing_wrong(command: list[str]) -> None:
    done = subprocess.run(
        ["promtool", *command], cwd=FOLDER, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tested_where_it_fires_and_where_it_does_not() -> None:
    tests = yaml.safe_load((FOLDER / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    firing = {case["alertname"] for case in cases if case["exp_alerts"]}
    silent = {case["alertname"] for case in cases if not case["exp_alerts"]}
    assert firing == silent == set(ALERTS)


@pytest.mark.parametrize("rule", RULES, ids=ALERTS)
def test_each_alert_says_what_is_wrong_and_where_to_read_what_to_do(rule: dict[str, dict[str, str]]) -> None:
    notes = rule["annotations"]
    assert notes["summary"]
    assert notes["description"].endswith(".")
    assert notes["runbook_url"] == f"docs/operations.md#{str(rule['alert']).lower()}"
    assert rule["labels"]["severity"] in ("critical", "warning")


@pytest.mark.parametrize("alert", ALERTS)
def test_the_runbook_has_cause_and_action_of_each_alert(alert: str) -> None:
    section = re.search(rf"^### {alert}\n(.*?)(?=^##|\Z)", RUNBOOK, flags=re.MULTILINE | re.DOTALL)
    assert section, f"docs/operations.md lacks a section {alert}"
    assert "**Cause.**" in section[1]
    assert "**Action.**" in section[1]


def test_the_runbook_has_no_section_of_an_alert_that_is_gone() -> None:
    part = RUNBOOK.split("\n## Alerts\n")[1].split("\n## ")[0]
    assert re.findall(r"^### (\w+)$", part, flags=re.MULTILINE) == ALERTS
