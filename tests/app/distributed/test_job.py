"""Whole jobs on a real cluster of raylets on this machine."""

from __future__ import annotations

import pytest

pytest.importorskip("ray.data", reason="Ray is an extra: pip install -e '.[ray]'")

import threading
from collections import Counter
from dataclasses import replace

import pyarrow as pa
from pyarrow import parquet

from app.distributed import job
from app.distributed.pools import ClusterSpec
from app.distributed.records import Outcome
from tests.app.distributed import fakes
from tests.app.distributed.fakes import DEADLY, HELD, Counted, Write
from tests.support.images import pixels, plain, png

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def test_photos_are_done_in_whole_and_split_alike(cluster, photos, order, tmp_path):
    source = photos(a=10, b=100, **{"inner/c": 250})
    (source / "bad.jpg").write_bytes(b"\xff\xd8\xffno")
    made = {}
    for split in (False, True):
        out = tmp_path / str(split)
        asked = order(
            source,
            out,
            address=cluster.address,
            cluster_spec=ClusterSpec(cpus=1, workers=1 + split, split=split),
        )
        asked = replace(asked, cluster_spec=ClusterSpec(cpus=1, split=split)) if not split else asked
        outcomes = list(job.outcomes(asked, job.plan(asked)))
        assert Counter(each.code for each in outcomes) == {"": 3, "failed_to_read_image": 1}
        files = sorted(out.rglob("*.png"))
        assert [file.relative_to(out).as_posix() for file in files] == ["a.png", "b.png", "inner/c.png"]
        # Not the bytes: the same rows compressed twice may differ by a match that is written out.
        made[split] = [pixels(file.read_bytes()).tolist() for file in files]
    assert made[False] == made[True]


def test_dead_node_loses_nothing_and_nothing_is_done_twice(cluster, photos, order, tmp_path):
    """Each batch has a photo that is written at once and one that is held; then the node is killed."""
    source = photos(**{f"p{number:02d}": HELD if number % 2 else 60 for number in range(24)})
    doomed = cluster.add_node(cpus=1)
    asked = order(source, address=cluster.address)
    plan = job.plan(asked)
    plan = replace(plan, sink=Counted(plan.sink.storage))
    outcomes: list[Outcome] = []
    running = threading.Thread(target=lambda: outcomes.extend(job.outcomes(asked, plan)))
    running.start()
    on_doomed: list[Write] = []
    try:
        fakes.wait_until(lambda: len({each.node for each in fakes.writes(tmp_path)}) == 2)
        on_doomed = [each for each in fakes.writes(tmp_path) if each.node == doomed.node_id]
    finally:
        cluster.kill(doomed, {each.process for each in on_doomed})
        (tmp_path / "go").touch()
        running.join(180)
    assert len(on_doomed) == 1
    assert {each.id: each.code for each in outcomes} == {f"p{number:02d}.png": "" for number in range(24)}
    assert len(outcomes) == 24
    written = fakes.writes(tmp_path)
    assert sorted(each.file for each in written) == [f"p{number:02d}.png" for number in range(24)]
    assert [each for each in written if each.node == doomed.node_id] == on_doomed
    assert all(pixels((tmp_path / "out" / each.file).read_bytes()).ndim == 2 for each in written)


def test_photo_that_kills_its_worker_ends_as_a_failure_and_its_neighbours_are_done(cluster, photos, order):
    source = photos(a=60, b=70, deadly=DEADLY, y=80, z=90)
    asked = order(source, address=cluster.address, cluster_spec=ClusterSpec(cpus=1, workers=1))
    outcomes = {each.id: each.code for each in job.outcomes(asked, job.plan(asked))}
    assert outcomes == {"a.png": "", "b.png": "", "deadly.png": "worker_lost", "y.png": "", "z.png": ""}


def test_parquet_comes_in_and_goes_out_and_failures_are_tried_again(cluster, order, tmp_path):
    rows = {"id": ["x/1", "2", "3"], "bytes": [png(plain(60)), b"no picture", png(plain(90))]}
    parquet.write_table(pa.table(rows), tmp_path / "in.parquet", row_group_size=2)
    out = tmp_path / "out.parquet"
    asked = order(tmp_path / "in.parquet", out, address=cluster.address)
    outcomes = {each.id: each.code for each in job.outcomes(asked, job.plan(asked))}
    assert outcomes == {"x/1": "", "2": "invalid_file_type", "3": ""}
    made = {row["id"]: row for row in parquet.read_table(out).to_pylist()}
    assert pixels(made["3"]["matte"]).shape == (made["3"]["height"], made["3"]["width"]) == (24, 36)
    assert made["2"]["matte"] is None
    assert made["2"]["error"].startswith("invalid_file_type: ")
    again = job.plan(asked)
    assert (again.count, again.skipped) == (1, 2)
