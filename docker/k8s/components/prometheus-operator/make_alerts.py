"""Writes alerts.yaml, docker/prometheus/alerts.yml as the Prometheus operator takes it.

python docker/k8s/components/prometheus-operator/make_alerts.py

Kustomize puts no file into another one. A test fails when alerts.yaml is out of date.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
RULES: Final = HERE.parents[2] / "prometheus" / "alerts.yml"
HEAD: Final = """\
# Made by make_alerts.py of docker/prometheus/alerts.yml: change that.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: matte
  namespace: matte
spec:
"""


def as_resource(rules: str) -> str:
    lines = [line for line in rules.splitlines() if not line.startswith("#")]
    return HEAD + "\n".join(f"  {line}" if line else "" for line in lines) + "\n"


if __name__ == "__main__":
    (HERE / "alerts.yaml").write_text(as_resource(RULES.read_text(encoding="utf-8")), encoding="utf-8")
