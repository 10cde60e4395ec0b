"""Writes dashboards/u2matte.json, Grafana's dashboard of the service, from panels.py.

    python docker/grafana/make_dashboard.py [FILE]

Grafana's own files say everything many times over; panels.py says it once. A test fails when the file is out of date,
and another one asks a real Prometheus each query.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from panels import ROWS, Panel

Json = dict[str, object]

FILE: Final = Path(__file__).parent / "dashboards" / "u2matte.json"
WIDTH: Final = 24  # columns of Grafana's grid
HEIGHT: Final = 8
SOURCE: Final[Json] = {"type": "prometheus", "uid": "${datasource}"}


def dashboard() -> Json:
    panels: list[Json] = []
    top = 0
    for title, row in ROWS.items():
        panels.append(_row(title, len(panels) + 1, top))
        top += 1
        left = 0
        for panel in row:
            if left + panel.width > WIDTH:
                left, top = 0, top + HEIGHT
            panels.append(_panel(panel, len(panels) + 1, left, top))
            left += panel.width
        top += HEIGHT
    return {
        "uid": "u2matte",
        "title": "u2matte",
        "description": "Rate, errors, durations and saturation of the background-removal service.",
        "tags": ["u2matte"],
        "schemaVersion": 41,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": _variables()},
        "panels": panels,
    }


def _variables() -> list[Json]:
    query = "label_values(matte_ready, instance)"
    return [
        {
            "name": "datasource",
            "label": "Prometheus",
            "type": "datasource",
            "query": "prometheus",
            "refresh": 1,
        },
        {
            "name": "instance",
            "label": "Instance",
            "type": "query",
            "datasource": SOURCE,
            "definition": query,
            "query": {"query": query, "refId": "instances"},
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        },
    ]


def _row(title: str, number: int, top: int) -> Json:
    place = {"h": 1, "w": WIDTH, "x": 0, "y": top}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}


def _panel(panel: Panel, number: int, left: int, top: int) -> Json:
    defaults: Json = {"unit": panel.unit}
    if panel.kind == "timeseries":
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        fill = 40 if panel.stacked else 8
        defaults |= {"min": 0, "custom": {"lineWidth": 1, "fillOpacity": fill, "stacking": stacking}}
    if panel.kind == "stat":
        states = {"0": {"text": "not ready", "color": "red"}, "1": {"text": "ready", "color": "green"}}
        defaults |= {"mappings": [{"type": "value", "options": states}]}
    made: Json = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": {"h": HEIGHT, "w": panel.width, "x": left, "y": top},
        "fieldConfig": {"defaults": defaults, "overrides": _overrides(panel)},
        "options": OPTIONS[panel.kind],
        "targets": [
            _target(panel, letter, legend, expression)
            for letter, (legend, expression) in zip("ABCDEF", panel.queries.items(), strict=False)
        ],
    }
    if panel.kind == "table":
        hidden = {"excludeByName": {"Time": True, "Value": True}}
        made["transformations"] = [{"id": "organize", "options": hidden}]
    return made


OPTIONS: Final[dict[str, Json]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "table": {"showHeader": True, "cellHeight": "sm"},
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "background",
        "graphMode": "none",
        "textMode": "value_and_name",
    },
}


def _overrides(panel: Panel) -> list[Json]:
    """A limit is a dashed line, not one more thing that is going on."""
    if "limit" not in panel.queries:
        return []
    looks = [
        {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}},
        {"id": "custom.fillOpacity", "value": 0},
        {"id": "color", "value": {"mode": "fixed", "fixedColor": "red"}},
    ]
    return [{"matcher": {"id": "byName", "options": "limit"}, "properties": looks}]


def _target(panel: Panel, letter: str, legend: str, expression: str) -> Json:
    target: Json = {"refId": letter, "datasource": SOURCE, "expr": expression, "editorMode": "code"}
    if panel.kind == "timeseries":
        return target | {"legendFormat": legend, "range": True}
    shape = "table" if panel.kind == "table" else "time_series"
    return target | {"legendFormat": legend, "instant": True, "format": shape}


if __name__ == "__main__":
    file = Path(sys.argv[1]) if sys.argv[1:] else FILE
    file.write_text(json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
