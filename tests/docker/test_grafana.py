"""The dashboard: its file is of its panels, and each panel has something to show of a real service under load."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.docker.monitoring import Prometheus, prometheus
from tests.support.images import jpeg, plain, png, portrait
from tests.support.model_versions import put
from tests.support.servers import serving_quickly

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboards" / "u2matte.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = {
    f"{panel['title']}: {target['legendFormat'] or target['refId']}": target["expr"]
    for panel in PANELS
    for target in panel["targets"]
}
OF_A_GPU = {name for name, query in QUERIES.items() if "matte_gpu_" in query}
PATIENCE_S = 40.0
# What Grafana puts in: all instances, and at least four scrapes.
VARIABLES = {"$instance": ".*", "$__rate_interval": "4s"}

PERSON, NOBODY = jpeg(portrait(300, 400)), png(plain(0))


def test_the_file_is_of_the_panels(tmp_path: Path) -> None:
    made = tmp_path / "made.json"
    subprocess.run([sys.executable, FOLDER / "make_dashboard.py", made], check=True, timeout=60)
    assert json.loads(made.read_text(encoding="utf-8")) == DASHBOARD, (
        "run: python docker/grafana/make_dashboard.py"
    )


def test_it_has_an_address_of_its_own_and_asks_for_its_data_source() -> None:
    assert DASHBOARD["uid"] == "u2matte"
    assert [each["name"] for each in DASHBOARD["templating"]["list"]] == ["datasource", "instance"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_each_panel_can_be_read(panel: dict[str, Any]) -> None:
    assert panel["type"] in (
        "timeseries",
        "stat",
        "table",
    )  # Of today's kinds; graph and singlestat are gone.
    assert panel["fieldConfig"]["defaults"]["unit"]
    if panel["type"] == "timeseries":
        assert panel["options"]["legend"]["showLegend"]
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert all(legends)
        assert len(set(legends)) == len(legends)


def test_no_panel_lies_over_another_or_over_the_edge() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert taken.isdisjoint(cells), panel["title"]
        taken |= cells


def load(client: httpx.Client) -> None:
    """One round of all kinds: mattes, cut-outs, both adapters, nobody in the photo, faults, and one too many."""

    def post(path: str, name: str, data: bytes, **options: str) -> int:
        return client.post(path, files={name: data}, data=options).status_code

    assert post("/v1/matte", "image", PERSON) == 200
    assert post("/v1/matte", "image", NOBODY, quality="high") == 200
    assert post("/v1/cutout", "image", PERSON, background="white", format="jpg") == 200
    assert post("/v1.0/removebg", "image_file", PERSON) == 200
    assert post("/api/remove", "file", PERSON) == 200
    assert post("/v1/matte", "image", b"no photo") == 415
    assert client.get("/").status_code == 200
    assert client.get("/nowhere").status_code == 404
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post("/v1/matte", "image", PERSON), range(16)))
    assert set(answers) <= {200, 429}


@pytest.fixture(scope="module")
def watched(
    tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[httpx.Client, Prometheus]]:
    """A client of the real service, and the Prometheus that scrapes it."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus (Debian's package of that name) is not installed")
    folder = tmp_path_factory.mktemp("prometheus")
    rules = ROOT / "docker" / "prometheus" / "alerts.yml"
    for number in ("1", "2"):
        put(folder / "models", tiny_artifact, number)
    chosen = {"MATTE_MAX_QUEUE": "2", "MATTE_SHADOW_MODEL": "tiny@2", "MATTE_SHADOW_SHARE": "1"}
    with (
        serving_quickly(folder / "models", **chosen) as (_, address),
        prometheus(folder, address, rules) as server,
        httpx.Client(base_url=address, timeout=30) as client,
    ):
        yield client, server


def filled(query: str) -> str:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    return query


def has_data(server: Prometheus, query: str) -> bool:
    samples = server.query(filled(query))
    return any(math.isfinite(float(sample["value"][1])) for sample in samples)  # type: ignore[index]


@pytest.mark.slow
def test_each_panel_shows_data_of_a_service_under_load(watched: tuple[httpx.Client, Prometheus]) -> None:
    client, server = watched
    waiting = {name: query for name, query in QUERIES.items() if name not in OF_A_GPU}
    ends = time.monotonic() + PATIENCE_S
    while waiting and time.monotonic() < ends:
        load(client)
        waiting = {name: query for name, query in waiting.items() if not has_data(server, query)}
    assert not waiting


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OF_A_GPU))
def test_the_panels_of_a_gpu_are_understood(watched: tuple[httpx.Client, Prometheus], name: str) -> None:
    _, server = watched
    server.query(filled(QUERIES[name]))


@pytest.mark.slow
def test_the_list_of_instances_is_not_empty(watched: tuple[httpx.Client, Prometheus]) -> None:
    _, server = watched
    instance = next(each for each in DASHBOARD["templating"]["list"] if each["name"] == "instance")
    metric = instance["definition"].removeprefix("label_values(").partition(",")[0]
    ends = time.monotonic() + PATIENCE_S
    # The test may be the first of its worker, and on a busy machine a scrape may time out.
    while not (samples := server.query(f"last_over_time({metric}[5m])")) and time.monotonic() < ends:
        time.sleep(0.2)
    assert samples
    assert all(sample["metric"]["instance"] for sample in samples)  # type: ignore[index]


@pytest.mark.slow
def test_each_alert_can_be_evaluated_over_what_the_service_tells(
    watched: tuple[httpx.Client, Prometheus],
) -> None:
    _, server = watched
    ends = time.monotonic() + PATIENCE_S
    while any(rule["health"] == "unknown" for rule in server.rules()) and time.monotonic() < ends:
        server.query("up")
    assert {
        rule["name"]: rule.get("lastError", "") for rule in server.rules() if rule["health"] != "ok"
    } == {}
